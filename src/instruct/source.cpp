#include "instruct/source.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <optional>
#include <vector>

#include "base/sha256.h"
#include "base/text.h"
#include "data/reject.h"

namespace ov::instruct {
namespace {

// The bytes of a file from a place on, through one buffer.
class Bytes {
 public:
  Bytes(const std::string& path, std::uint64_t at, Sha256* hash = nullptr) : path_(path), next_(at), hash_(hash) {
    check_path(path);
    fd_ = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    struct stat info {};
    const bool open = fd_ >= 0 && ::fstat(fd_, &info) == 0;
    if (open && S_ISREG(info.st_mode)) return;
    const int why = errno;
    if (fd_ >= 0) ::close(fd_);  // a constructor that throws has no destructor
    errno = why;
    if (!open) path_error(path, "open");
    input_error(path, ": expected a file, since a source is read more than once");
  }
  ~Bytes() { ::close(fd_); }
  Bytes(const Bytes&) = delete;

  std::uint64_t offset() const { return next_ - (end_ - at_); }  // of the byte that get() gives next
  int get() {                                                    // -1 at the end
    if (at_ == end_ && !fill()) return -1;
    return static_cast<unsigned char>(buffer_[at_++]);
  }
  int peek() { return at_ == end_ && !fill() ? -1 : static_cast<unsigned char>(buffer_[at_]); }

 private:
  bool fill() {
    const ssize_t n = ::pread(fd_, buffer_.data(), buffer_.size(), static_cast<off_t>(next_));
    if (n < 0) path_error(path_, "read");
    if (hash_) hash_->update(buffer_.data(), static_cast<std::size_t>(n));
    at_ = 0, end_ = static_cast<std::size_t>(n), next_ += end_;
    return n > 0;
  }
  const std::string& path_;
  std::uint64_t next_;
  Sha256* hash_;
  int fd_ = -1;
  std::size_t at_ = 0, end_ = 0;
  std::vector<char> buffer_ = std::vector<char>(1 << 18);
};

bool is_blank(int c) { return c == ' ' || c == '\t' || c == '\r' || c == '\n'; }

class JsonSource : public RawSource {
 public:
  JsonSource(const std::string& path, const std::string& image_dir)
      : path_(path),
        image_dir_(std::filesystem::weakly_canonical(image_dir.empty() ? parent_directory(path) : image_dir)) {
    Sha256 hash;
    Bytes in(path_, 0, &hash);
    std::string start;
    while (start.size() < 512 && in.peek() >= 0) start += static_cast<char>(in.get());
    const std::string kind = looks_like(start);
    if (!kind.empty() && kind != "JSON text")
      input_error(path, ": looks like ", kind, "; expected a JSON array of records, or one record on each line");
    const std::size_t bom = start.starts_with("\xEF\xBB\xBF") ? 3 : 0;
    const std::size_t first = start.find_first_not_of(" \t\r\n", bom);
    if (first != start.npos && start[first] == '[' && list(first + 1, true)) array_ = true;
    else list(bom, false);
    while (in.get() >= 0) {}
    fingerprint_ = hash.hex();
    if (size_ == 0) input_error(path, ": no records: expected a JSON array of them, or one on each line");
  }

  std::int64_t size() const override { return size_; }
  std::string fingerprint() const override { return fingerprint_; }

  void block(std::int64_t b, const std::function<bool(RawRecord)>& f) const override {
    const BlockStart& start = starts_.at(static_cast<std::size_t>(b));
    Bytes in(path_, start.begin);
    std::int64_t index = b * block_records, line = start.line;
    const std::int64_t end = std::min(size_, index + block_records);
    bool more = true;
    for (Piece piece; more && index < end; ++index) {
      if (!next(in, array_, &line, &piece)) machine_error(path_, ": became shorter while it was read");
      const std::string where = array_ ? cat(path_, ": record ", index + 1) : cat(path_, ":", piece.line);
      if (piece.bytes > longest_record) {
        const std::size_t bytes = piece.bytes;
        more = f({index, 0, [=]() -> Conversation {
                    malformed(where, "a record of ", bytes, " bytes, expected at most ", longest_record);
                  }});
      } else {
        // A parsed value takes several times its text.
        more = f({index, 8 * piece.bytes, [this, where, line = piece.line, text = std::move(piece.text)] {
                    const auto parse = [&] { return Json::parse(text, path_, static_cast<std::size_t>(line)); };
                    Json record = or_reject(RejectReason::malformed_record, array_ ? where : "", parse);
                    return conversation_of(as_messages(std::move(record), where), where, image_dir_, "");
                  }});
      }
    }
  }

 private:
  struct BlockStart {
    std::uint64_t begin;
    std::int64_t line;
  };
  struct Piece {
    std::string text;  // "" when it is too long
    std::size_t bytes = 0;
    std::int64_t line = 0;
    bool last = false;  // the array closes behind it
  };

  // Notes where blocks begin. False when what looked like an array has something behind it.
  bool list(std::uint64_t at, bool array) {
    Bytes in(path_, at);
    starts_.clear(), size_ = 0;
    std::int64_t line = 1;
    bool closed = false;
    for (;; ++size_) {
      while (is_blank(in.peek())) line += in.get() == '\n';
      if (in.peek() < 0 || (array && size_ == 0 && in.peek() == ']')) break;
      if (size_ % block_records == 0) starts_.push_back({in.offset(), line});
      Piece piece;
      if (!next(in, array, &line, &piece)) break;
      if (piece.last) {
        ++size_, closed = true;
        break;
      }
    }
    if (!array) return true;
    if (!closed && in.get() != ']')
      input_error(path_, ":", line, ": malformed JSON: the array does not close, the file ends inside it");
    while (is_blank(in.peek())) in.get();
    return in.peek() < 0;
  }

  // The next record, and what ends it. False at the end of the file.
  bool next(Bytes& in, bool array, std::int64_t* line, Piece* piece) const {
    while (is_blank(in.peek())) *line += in.get() == '\n';
    if (in.peek() < 0) return false;
    piece->text.clear(), piece->bytes = 0, piece->line = *line;
    std::string open;  // brackets of this record that are still to be closed
    bool quoted = false, escaped = false;
    for (int c; (c = in.get()) >= 0;) {
      *line += c == '\n';
      if (!array) {
        if (c == '\n') return true;
      } else if (quoted) {
        if (escaped) escaped = false;
        else if (c == '\\') escaped = true;
        else if (c == '"') quoted = false;
      } else if (c == '"') {
        quoted = true;
      } else if (c == '{' || c == '[') {
        open += c == '{' ? '}' : ']';
        if (open.size() > 100000) input_error(path_, ":", *line, ": malformed JSON: brackets are too deep");
      } else if (open.empty() && (c == ',' || c == ']')) {
        piece->last = c == ']';
        return true;
      } else if (c == '}' || c == ']') {
        if (open.empty() || open.back() != c)
          input_error(path_, ":", *line, ": malformed JSON: expected '", open.empty() ? ',' : open.back(), "', found '",
                      static_cast<char>(c), "'");
        open.pop_back();
      }
      if (++piece->bytes <= longest_record) piece->text += static_cast<char>(c);
      else piece->text.clear();
    }
    if (array) input_error(path_, ":", *line, ": malformed JSON: the array does not close, the file ends inside it");
    return true;
  }

  // {instruction, input, output}, as the original's sft_dataset_config.json maps them; Alpaca's system and history.
  static Json as_messages(Json record, const std::string& where) {
    if (!record.is_object() || !record.find("instruction") || !record.find("output") || record.find("messages") ||
        record.find("conversations"))
      return record;
    Json messages = Json::array();
    const auto text = [&](const Json& v) {
      if (!v.is_string()) malformed(where, "instruction, input and output: expected strings, found ", v.shown());
      return v.as_string();
    };
    const auto say = [&](const char* role, const std::string& content) {
      messages.push(Json::object({{"role", role}, {"content", content}}));
    };
    if (const Json* system = record.find("system"); system && system->is_string() && !system->as_string().empty())
      say("system", system->as_string());
    if (const Json* history = record.find("history"); history && history->is_array())
      for (const Json& pair : history->items()) {
        if (!pair.is_array() || pair.size() != 2) malformed(where, "history: expected pairs of question and answer");
        say("user", text(pair[0])), say("assistant", text(pair[1]));
      }
    std::string question = text(record.at("instruction"));
    if (const Json* input = record.find("input"); input && input->is_string() && !input->as_string().empty())
      question += (question.empty() ? "" : "\n") + input->as_string();
    say("user", question), say("assistant", text(record.at("output")));
    record.set("messages", messages);
    return record;
  }

  const std::string path_, image_dir_;
  std::string fingerprint_;
  std::vector<BlockStart> starts_;
  std::int64_t size_ = 0;
  bool array_ = false;
};

// What src/data/raw reads by number.
class NumberedSource : public RawSource {
 public:
  explicit NumberedSource(std::unique_ptr<const Records> records) : records_(std::move(records)) {}
  std::int64_t size() const override { return records_->size(); }
  std::string fingerprint() const override { return records_->fingerprint(); }
  std::int64_t written() const override { return records_->written(); }
  void block(std::int64_t b, const std::function<bool(RawRecord)>& f) const override {
    const std::int64_t begin = b * block_records, end = std::min(size(), begin + block_records);
    for (std::int64_t i = begin; i < end; ++i)
      if (!f({i, 1 << 20, [this, i] { return records_->read(i); }})) return;
  }

 private:
  const std::unique_ptr<const Records> records_;
};

}  // namespace

std::unique_ptr<RawSource> RawSource::open(const std::string& path, const std::string& image_dir) {
  std::error_code missing;
  bool numbered = std::filesystem::is_directory(path, missing) || path.ends_with(".parquet");
  if (!numbered) {
    Bytes in(path, 0);
    std::string start;
    while (start.size() < 512 && in.peek() >= 0) start += static_cast<char>(in.get());
    numbered = start.starts_with("PAR1") || looks_like(start) == "a tar archive" || path.ends_with(".tar.gz") ||
               path.ends_with(".tgz") || path.ends_with(".tar");
  }
  if (numbered) return std::make_unique<NumberedSource>(open_records(path, image_dir));
  return std::make_unique<JsonSource>(path, image_dir);
}

}  // namespace ov::instruct
