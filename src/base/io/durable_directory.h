// Several files that appear together or not at all: a training checkpoint, an exported model.
//
//   DurableDirectory save("run/step-200", "checkpoint");
//   write_durably(save.file("rng.json"), ...);          // any way of writing into save.path() will do
//   save.commit();
//
// Files are written into "<path>.partial". commit() fsyncs each of them, writes the marker DONE, renames the directory
// to <path> and fsyncs the parent. An earlier directory is moved to "<path>.old" first and removed last, so it is never
// lost before the new one stands. A kill at any step leaves the old or the new one; when it fell between the two
// renames, recover() finishes (the constructor calls it; readers call it before they look).
//
// DONE says which command of which revision wrote the directory, and every file with its SHA-256, in lines as sha256sum
// writes them; its last line is the SHA-256 of the lines above it, so that a flipped bit anywhere shows.
//
// A directory is replaced only by the command that wrote it. Files in it that DONE does not list belong to somebody
// else: they are carried over into the new directory. "<path>.partial" and "<path>.old" are known by DONE or by a file
// .unfinished; another directory of such a name is the user's, and the constructor refuses to go on.
#pragma once
#include <map>
#include <string>
#include <vector>

namespace ov {

class DurableDirectory {
 public:
  static constexpr const char* marker = "DONE";

  // `command`: who writes it, "merge". Throws as check() does.
  DurableDirectory(const std::string& path, std::string command);
  ~DurableDirectory();  // not committed: the partial directory is removed
  DurableDirectory(const DurableDirectory&) = delete;

  const std::string& path() const { return partial_; }  // where to write until commit()
  std::string file(const std::string& name) const { return partial_ + "/" + name; }
  // file_system: one syncfs in place of an fsync per file (3.6 ms each where a disk has to flush), for directories of
  // many thousand small files. input_error when somebody else's file has the name of one that was written.
  enum class Flush { each_file, file_system };
  // known: SHA-256 of files in it, by name, which whoever wrote them has taken; they are not read again.
  void commit(Flush flush = Flush::each_file, const std::map<std::string, std::string>& known = {});

  // input_error unless `command` may write a directory there: there is nothing, an empty directory, or one of its own
  // whose files are as it left them (files of more than 64 MB are not read for this).
  static void check(const std::string& path, const std::string& command);
  // input_error that names the first file which is missing or is not what was written.
  static void verify(const std::string& path, const std::string& command);
  static bool complete(const std::string& path);  // a directory that holds DONE
  static void recover(const std::string& path);
  // Files, as paths inside the directory, that DONE does not list. input_error when DONE is damaged.
  static std::vector<std::string> foreign_files(const std::string& path);

 private:
  std::string path_, command_, target_, partial_, old_;
  bool pending_ = false;
};

}  // namespace ov
