#include "base/io/durable_directory.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <map>

#include "base/error.h"
#include "base/io/file.h"
#include "base/parallel.h"
#include "base/revision.h"
#include "base/sha256.h"

namespace ov {
namespace {

namespace fs = std::filesystem;

bool is_directory(const std::string& path) {
  std::error_code ignored;
  return fs::is_directory(path, ignored);
}

bool exists(const std::string& path) {
  std::error_code ignored;
  return fs::exists(fs::symlink_status(path, ignored));
}

// Files first, then the directory that names them.
void sync_tree(const std::string& path, const std::string& shown) {
  for (const std::string& name : list_directory(path)) {
    const std::string inside = path + "/" + name;
    std::error_code ignored;
    if (fs::is_symlink(inside, ignored)) continue;  // a name alone: the directory's fsync keeps it
    if (is_directory(inside)) sync_tree(inside, shown);
    else sync_path(inside, false, shown);
  }
  sync_path(path, true, shown);
}

void sync_file_system(const std::string& path, const std::string& shown) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) machine_error(shown, ": cannot open for syncfs: ", std::strerror(errno));
  file_step("syncfs", path, false);
  const int error = ::syncfs(fd) == 0 ? 0 : errno;
  ::close(fd);
  if (error) machine_error(shown, ": cannot syncfs: ", std::strerror(error));
  file_step("syncfs", path, true);
}

// Stands in what is half written or half removed, so that it is told from a directory of the user's with that name.
constexpr const char* unfinished = ".unfinished";

// What is half removed must not look complete, and must still be known.
void discard(const std::string& path) noexcept {
  try {
    if (DurableDirectory::complete(path))
      rename_path(path + "/" + DurableDirectory::marker, path + "/" + unfinished, path);
    for (const std::string& name : list_directory(path))
      if (name != unfinished) remove_tree(path + "/" + name);
  } catch (const Error&) {  // what cannot be removed stays
  }
  remove_tree(path);
}

void discard_own(const std::string& path, const std::string& shown) {
  if (!exists(path)) return;
  bool own = is_directory(path);
  if (own && !DurableDirectory::complete(path) && !exists(path + "/" + unfinished))
    for (const std::string& name : list_directory(path)) own &= name == std::string(unfinished) + ".partial";
  if (!own)
    input_error(path, ": stands where ", shown, " is prepared, and is not what a run that was cut left; move it away");
  discard(path);
}

fs::file_type type_of(const std::string& path) {
  std::error_code ignored;
  return fs::symlink_status(path, ignored).type();
}

// Every file below `path`, as a path inside it; a symbolic link counts as a file, an empty directory ends in '/'.
// Sorted within each directory.
void list_files(const std::string& path, const std::string& inside, std::vector<std::string>& files) {
  const std::vector<std::string> names = list_directory(path + "/" + inside);
  if (names.empty() && !inside.empty()) files.push_back(inside);
  for (const std::string& name : names)
    if (type_of(path + "/" + inside + name) == fs::file_type::directory) list_files(path, inside + name + "/", files);
    else files.push_back(inside + name);
}

std::vector<std::string> files_in(const std::string& path) {
  std::vector<std::string> files;
  list_files(path, "", files);
  std::erase_if(files, [](const std::string& name) { return name == DurableDirectory::marker || name == unfinished; });
  return files;
}

// A file of the user's comes along into a directory that replaces its own.
void carry_over(const std::string& from, const std::string& to, const std::string& name, const std::string& shown) {
  make_directories(parent_directory(to + "/" + name));  // all there is to do for an empty directory
  std::error_code error;
  if (!name.ends_with('/')) fs::copy(from + "/" + name, to + "/" + name, fs::copy_options::copy_symlinks, error);
  if (error) machine_error(shown, "/", name, ": cannot be carried over: ", error.message());
}

// A child of fork() has no other threads, so a few files are read by the caller alone.
std::vector<std::string> digests(const std::string& path, const std::vector<std::string>& files,
                                 const std::map<std::string, std::string>& known = {}) {
  std::vector<std::string> hex(files.size());
  parallel_for(static_cast<std::int64_t>(files.size()), 64, [&](std::int64_t i) {
    const std::string& file = files[static_cast<std::size_t>(i)];
    const auto taken = known.find(file);
    hex[static_cast<std::size_t>(i)] = taken == known.end() ? sha256_file(path + "/" + file) : taken->second;
  });
  return hex;
}

constexpr std::size_t digest_digits = 64;
constexpr std::string_view first_word = "onevision ";

// What DONE says.
struct Contents {
  std::string command;
  std::map<std::string, std::string> files;  // name to SHA-256
};

std::string marker_text(const std::string& command, const std::vector<std::string>& files,
                        const std::vector<std::string>& hex) {
  std::string text = cat(first_word, command, ", revision ", revision(), "\n");
  for (std::size_t i = 0; i < files.size(); ++i) text += hex[i] + "  " + files[i] + "\n";
  return text + sha256(text) + "  " + DurableDirectory::marker + "\n";
}

Contents read_marker(const std::string& path) {
  const std::string marker = path + "/" + DurableDirectory::marker, text = read_file(marker);
  if (!text.starts_with(first_word))
    input_error(marker, ": does not say which command wrote the directory, or is damaged");
  const std::size_t last = text.size() < 2 ? 0 : text.rfind('\n', text.size() - 2) + 1;
  if (text.substr(last) != sha256(text.substr(0, last)) + "  " + DurableDirectory::marker + "\n")
    input_error(marker, ": is damaged: its last line is not the SHA-256 of the lines above it");
  Contents found;
  std::size_t at = text.find('\n') + 1;
  found.command = text.substr(first_word.size(), text.find(',') - first_word.size());
  while (at < last) {
    const std::size_t end = text.find('\n', at);
    if (end - at < digest_digits + 2) input_error(marker, ": expected a digest and a name, found a shorter line");
    found.files[text.substr(at + digest_digits + 2, end - at - digest_digits - 2)] = text.substr(at, digest_digits);
    at = end + 1;
  }
  return found;
}

// input_error that names the first listed file which is not as it was written. Files above `most` bytes are passed
// over, missing ones too unless all must be there.
void compare(const std::string& path, const Contents& written, std::uintmax_t most, bool all, const char* advice) {
  std::vector<std::string> files;
  for (const auto& [name, digest] : written.files) {
    std::error_code missing;
    const auto size = fs::file_size(path + "/" + name, missing);
    if (missing && all) input_error(path, "/", name, ": is missing, though ", DurableDirectory::marker, " lists it");
    if (!missing && size <= most) files.push_back(name);
  }
  const std::vector<std::string> hex = digests(path, files);
  for (std::size_t i = 0; i < files.size(); ++i)
    if (hex[i] != written.files.at(files[i]))
      input_error(path, "/", files[i], ": is not what `", written.command, "` wrote: its SHA-256 is not the one in ",
                  DurableDirectory::marker, advice);
}

}  // namespace

DurableDirectory::DurableDirectory(const std::string& path, std::string command)
    : path_(without_slash(path)),
      command_(std::move(command)),
      target_(follow_link(path_)),
      partial_(target_ + ".partial"),
      old_(target_ + ".old") {
  recover(target_);
  check(path_, command_);
  discard_own(partial_, path_);
  discard_own(old_, path_);
  make_directory(partial_, path_);
  pending_ = true;
  write_durably(file(unfinished), "");
}

void DurableDirectory::check(const std::string& path, const std::string& command) {
  const std::string target = follow_link(without_slash(path));
  if (!exists(target)) return;
  if (!is_directory(target)) input_error(path, ": is a file, expected a directory or nothing");
  if (list_directory(target).empty()) return;
  if (!complete(target))
    input_error(path, ": holds files but no ", marker, ", so it is not replaced; name another directory or empty it");
  const Contents written = read_marker(target);
  if (written.command != command)
    input_error(path, ": was written by `", written.command, "`, so `", command,
                "` does not replace it; name another directory");
  compare(target, written, 64 << 20, false, "; move it away, or undo the change");
  for (const std::string& name : foreign_files(target))
    if (const auto type = type_of(target + "/" + name);
        type != fs::file_type::regular && type != fs::file_type::symlink && type != fs::file_type::directory)
      input_error(path, "/", name, ": is a pipe, a socket or a device, which is not carried over; move it away");
}

void DurableDirectory::verify(const std::string& path, const std::string& command) {
  const Contents written = read_marker(path);
  if (written.command != command) input_error(path, ": was written by `", written.command, "`, expected ", command);
  compare(path, written, UINTMAX_MAX, true, "; it is damaged");
}

std::vector<std::string> DurableDirectory::foreign_files(const std::string& path) {
  const Contents written = read_marker(path);
  std::vector<std::string> foreign;
  for (const std::string& name : files_in(path))
    if (!written.files.contains(name)) foreign.push_back(name);
  return foreign;
}

DurableDirectory::~DurableDirectory() {
  if (pending_) discard(partial_);
}

void DurableDirectory::commit(Flush flush, const std::map<std::string, std::string>& known) {
  std::vector<std::string> files = files_in(partial_);
  std::erase_if(files, [](const std::string& name) { return name.ends_with('/'); });
  const std::string done = marker_text(command_, files, digests(partial_, files, known));
  const bool replaces = complete(target_);
  if (replaces)
    for (const std::string& name : foreign_files(target_)) {
      if (!name.ends_with('/') && exists(file(name)))
        input_error(path_, "/", name, ": is not one of the files that `", command_,
                    "` wrote, and the new directory has one of that name; move it away");
      carry_over(target_, partial_, name, path_);
    }
  if (flush == Flush::file_system) sync_file_system(partial_, path_);
  else sync_tree(partial_, path_);
  write_durably(file(unfinished), done);
  rename_path(file(unfinished), file(marker), path_);  // one of the two stands there at any time
  sync_path(partial_, true, path_);
  if (replaces) rename_path(target_, old_, path_);
  pending_ = false;  // from here a failure must leave both for recover()
  rename_path(partial_, target_, path_);
  sync_path(parent_directory(target_), true, path_);
  if (replaces) discard(old_);
}

bool DurableDirectory::complete(const std::string& path) {
  std::error_code ignored;
  return fs::is_regular_file(path + "/" + marker, ignored);
}

void DurableDirectory::recover(const std::string& path) {
  const std::string target = follow_link(without_slash(path));
  if (exists(target)) return;
  for (const char* suffix : {".partial", ".old"}) {
    if (!complete(target + suffix)) continue;
    rename_path(target + suffix, target, path);
    sync_path(parent_directory(target), true, path);
    return;
  }
}

}  // namespace ov
