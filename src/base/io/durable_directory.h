// Several files that appear together or not at all: a training checkpoint, an exported model.
//
//   DurableDirectory save("run/step-200");
//   write_durably(save.file("rng.json"), ...);          // any way of writing into save.path() will do
//   save.commit();
//
// Files are written into "<path>.partial". commit() fsyncs each of them, writes the marker DONE, renames the directory
// to <path> and fsyncs the parent. An earlier complete directory is moved to "<path>.old" first and removed last, so
// it is never lost before the new one stands. A kill at any step leaves the old or the new one; when it fell between
// the two renames, recover() finishes (the constructor calls it; readers call it before they look).
//
// Errors: input_error when <path> is a file, or a directory with something in it but no DONE: not ours to replace.
#pragma once
#include <string>

namespace ov {

class DurableDirectory {
 public:
  static constexpr const char* marker = "DONE";

  explicit DurableDirectory(const std::string& path);
  ~DurableDirectory();  // not committed: the partial directory is removed
  DurableDirectory(const DurableDirectory&) = delete;

  const std::string& path() const { return partial_; }  // where to write until commit()
  std::string file(const std::string& name) const { return partial_ + "/" + name; }
  // file_system: one syncfs in place of an fsync per file (3.6 ms each where a disk has to flush), for directories of
  // many thousand small files.
  enum class Flush { each_file, file_system };
  void commit(Flush flush = Flush::each_file);

  static bool complete(const std::string& path);  // a directory that holds DONE
  static void recover(const std::string& path);

 private:
  std::string path_, target_, partial_, old_;
  bool pending_ = false;
};

}  // namespace ov
