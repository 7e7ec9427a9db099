// A request's pictures, from where its URLs say.
//
//   data:image/...;base64,...   always
//   file:///path                only below media_path, after links are followed
//   http:// https://            only if allowed; never to an address of this machine or a private network, no redirects
#pragma once
#include <cstdint>
#include <string>
#include <string_view>

#include "image/image.h"

namespace ov::serve {

struct MediaOptions {
  std::string media_path = "";  // "": no files
  bool own_files = false;       // whoever asks may learn which files there are
  bool remote = false;
  std::int64_t max_pixels = std::int64_t{1} << 27;          // of a picture as it is sent
  std::int64_t max_request_pixels = std::int64_t{1} << 28;  // of all pictures of a request
  std::int64_t max_bytes = std::int64_t{256} << 20;         // of one that is fetched
};

// Throws input_error; for too many pixels before any of them is decoded. `pixels`: of the request's pictures so far, to
// which this one's are added.
Image picture_at(const std::string& url, const MediaOptions& options, std::int64_t* pixels = nullptr);

}  // namespace ov::serve
