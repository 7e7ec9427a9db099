// The pictures that records name by a path.
#pragma once
#include <memory>
#include <string>

#include "base/io/mapped_file.h"
#include "base/json.h"

namespace ov {

// The path as it is, or below `directory`. Throws Rejected (malformed_record) that starts with `where`: no string, an
// empty one, one with a zero byte.
std::string picture_path(const Json& path, const std::string& directory, const std::string& where);

// A regular file alone: a record that names a pipe, a terminal or /dev/stdin would stop the run until somebody writes.
// Throws Rejected (image_missing) that starts with `where`, machine_error when the file is there and cannot be read.
std::shared_ptr<const MappedFile> open_picture(const std::string& path, const std::string& where);

}  // namespace ov
