// What the CUDA sources may not contain: read as text, so that it holds for nvcc's half too.
#include <doctest/doctest.h>

#include <cstdlib>
#include <regex>
#include <set>

#include "base/io/mapped_file.h"
#include "cli/keys.h"
#include "tests/check.h"

using namespace ov;

namespace {

struct Rule {
  const char* name;
  const char* files;    // whose path matches
  const char* pattern;  // of a line that is a fault, comments left out
  const char* planted;  // such a line
};
const Rule rules[] = {
    {"sums by atomics", "^kernels/cuda/", R"(\batomic\w*\s*\()", "  atomicAdd(&sum, x);"},
    {"an order of sums by the number of multiprocessors", "^kernels/cuda/", R"(multiprocessors|occupancy)",
     "  const int blocks = attribute(Attribute::multiprocessors, 0);"},
    {"PTX outside of ptx.h and ptx_barrier.h", "^kernels/(?!cuda/ptx(_barrier)?\\.h)", R"(\basm\b)",
     "  asm volatile(\"bar.sync 0;\");"},
    {"others' kernels", "^kernels/", R"(\b(thrust|cub|cudnn|cutlass)(::|/|[A-Z_]))",
     "#include <cub/block/block_reduce.cuh>"},
    {"instructions without a twin", "^kernels/cuda/",
     R"(cp\.(reduce\.)?async\.bulk|wgmma|tcgen05|setmaxnreg|barrier\.cluster|cluster\.sync|::cluster|fence\.)",
     "  asm(\"wgmma.fence.sync.aligned;\");"},
    {"mbarriers beyond those of sm_80", "^kernels/cuda/",
     R"([^/]mbarrier\.(?!(init|inval|arrive(_drop|\.noComplete)?|test_wait(\.parity)?)\.shared\.b64 |arrive\.noinc\.))",
     "  asm(\"mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;\");"},
    {"an mbarrier outside of ov::ptx", "^kernels/cuda/(?!ptx_barrier\\.h)", R"([^/]mbarrier\.)",
     "  asm(\"mbarrier.inval.shared.b64 [%0];\");"},
    {"a call that waits in secret", "^kernels/",
     R"(cuda(Memset|Memcpy|DeviceSynchronize|FreeAsync|MallocAsync|MallocManaged)\s*\()",
     "  cu"
     "daMemset(x, 0, n);"},
    {"functions of the host in a stream", "^kernels/", R"(cuda(LaunchHostFunc|StreamAddCallback))",
     "  cu"
     "daLaunchHostFunc(s, f, nullptr);"},
    {"graphs", "^kernels/", R"(cuda(Graph|StreamBeginCapture))",
     "  cu"
     "daStreamBeginCapture(s, mode);"},
};

// "" when no line breaks the rule.
std::string broken(const Rule& rule, const std::string& path, const std::string& text) {
  if (!std::regex_search(path, std::regex(rule.files))) return "";
  const std::regex pattern(rule.pattern);
  std::size_t number = 0;
  for (std::size_t begin = 0; begin < text.size(); ++number) {
    const std::size_t end = std::min(text.find('\n', begin), text.size());
    const std::string line = text.substr(begin, end - begin), code = line.substr(0, line.find("//"));
    if (std::regex_search(code, pattern)) return cat(path, ":", number + 1, ": ", rule.name);
    begin = end + 1;
  }
  return "";
}

// The names of the functions that a half of a file of ov::ptx declares; those of namespace detail are not its own.
std::set<std::string> functions_of(const std::string& half) {
  const std::regex declared(
      R"((?:^|\n)(?:template <int n>\n)?(?:__device__ )?(?:inline )?(?:void|float|unsigned|std::uint64_t) (\w+)\()");
  const std::string own =
      std::regex_replace(half, std::regex(R"(namespace detail \{[^]*?\n\}  // namespace detail)"), "");
  std::set<std::string> names;
  for (std::sregex_iterator f(own.begin(), own.end(), declared), end; f != end; ++f) names.insert((*f)[1]);
  names.erase("shared_address");  // no instruction
  return names;
}

// What the comment at a file's beginning lacks of what a reader looks for first; "" when nothing.
std::string missing(const std::string& text) {
  std::string opening;
  for (std::size_t begin = 0; text.compare(begin, 2, "//") == 0;) {
    const std::size_t end = std::min(text.find('\n', begin) + 1, text.size());
    opening += text.substr(begin, end - begin), begin = end;
  }
  for (const auto& [what, pattern] : {std::pair{"an equation", R"(\S +(=|←|\+=) +\S)"},
                                      {"tiles and threads, drawn", R"(\|[^\n|]+\|[^\n|]*\||\+--)"},
                                      {"bytes", R"(\b[Bb]ytes?\b)"},
                                      {"FLOPs", R"(\b(FLOP|flop)s?\b)"}})
    if (!std::regex_search(opening, std::regex(pattern))) return what;
  return "";
}

// The kernels that are bound to a number of threads and launched with another one, as they are written.
std::string launched_beyond_bounds(const std::string& text) {
  const std::regex bound(R"(__launch_bounds__\(([^,()]*(?:\([^()]*\))?)[^()]*\)\s*(\w+)\()");
  const std::regex launches(R"(launch\(([^;]*);)");
  std::string wrong;
  for (std::sregex_iterator k(text.begin(), text.end(), bound), end; k != end; ++k) {
    const std::string threads = (*k)[1], name = (*k)[2];
    int found = 0;
    for (std::sregex_iterator l(text.begin(), text.end(), launches); l != end; ++l) {
      const std::string arguments = (*l)[1];
      const std::regex kernel(cat("\\b(", name, "|kernel)\\b"));
      if (!std::regex_search(arguments, kernel)) continue;
      ++found;
      if (!test::contains(arguments, cat("dim3(", threads, ")"))) wrong += name + " ";
    }
    if (found == 0) wrong += cat(name, " (not launched) ");
  }
  return wrong;
}

}  // namespace

TEST_CASE("every file of CUDA kernels opens with its equation, its tiles and threads drawn, its bytes and FLOPs") {
  int files = 0;
  for (const std::string& name : list_directory("kernels/cuda")) {
    const std::string text = read_file("kernels/cuda/" + name);
    if (!name.ends_with(".cu") || !std::regex_search(text, std::regex("__global__|for_each_packet<"))) continue;
    CHECK_MESSAGE(missing(text) == "", name, " lacks ", missing(text));
    ++files;
  }
  CHECK(files >= 30);
  const std::string whole = "// y = x\n//  | 0 | 1 | ...\n// 4 bytes, 1 FLOP\n";
  CHECK(missing(whole + "int x;\n") == "");
  for (const auto& [without, what] : {std::pair{"y = x", "an equation"},
                                      {"| 0 | 1 | ...", "tiles and threads, drawn"},
                                      {"bytes", "bytes"},
                                      {"FLOP", "FLOPs"}}) {
    std::string cut = whole;
    cut.erase(cut.find(without), std::string(without).size());
    CHECK(missing(cut + "int y = 1;  // | 0 | 1 | bytes FLOPs\n") == what);
  }
}

TEST_CASE("a kernel that is compiled for a number of threads is launched with that number") {
  int bound = 0;
  for (const std::string& name : list_directory("kernels/cuda")) {
    const std::string text = read_file("kernels/cuda/" + name);
    bound += name != "language.h" && test::contains(text, "__launch_bounds__(");
    if (name != "language.h")
      CHECK_MESSAGE(launched_beyond_bounds(text) == "", name, ": ", launched_beyond_bounds(text));
  }
  CHECK(bound >= 5);
  const std::string kernel = "__global__ void __launch_bounds__(32 * warps_of(D), 2)\n    walk(int* y) {}\n";
  CHECK(launched_beyond_bounds(kernel + "launch(walk<D>, dim3(N),\n dim3(32 * warps_of(D)), 0, s, y);") == "");
  CHECK(launched_beyond_bounds(kernel + "launch(walk<D>, dim3(N), dim3(256), 0, s, y);") == "walk ");
  CHECK(launched_beyond_bounds(kernel) == "walk (not launched) ");
}

TEST_CASE(
    "the CUDA sources have no atomics, no order by the size of the GPU, no call that waits in secret, no host function "
    "in a stream, no graph, and no instruction that has no twin (G-04, G-11, G-28, G-29, G-30, G-31, G-35, G-37, "
    "G-60)") {
  int files = 0;
  for (const std::string room : {"kernels/cuda", "kernels/gpu"})
    for (const std::string& name : list_directory(room)) {
      const std::string text = read_file(room + "/" + name);
      for (const Rule& rule : rules) CHECK(broken(rule, room + "/" + name, text) == "");
      ++files;
    }
  CHECK(files > 30);
  for (const Rule& rule : rules) {
    CHECK(broken(rule, "kernels/cuda/x.cu", cat("int f() {\n", rule.planted, "\n}\n")) != "");
    CHECK(broken(rule, "kernels/cuda/x.cu", cat("// ", rule.planted, "\n")) == "");
  }
}

TEST_CASE("every instruction of ov::ptx has a twin, and the probe that nvcc and a GPU are given uses it (G-29)") {
  const std::string probe = read_file("tests/kernels/ptx_probe.cu");
  std::size_t found = 0;
  for (const std::string name : {"ptx.h", "ptx_barrier.h"}) {
    const std::string text = read_file("kernels/cuda/" + name);
    const std::size_t device = text.find("#ifdef __CUDACC__\n"), twins = text.find("#else  // the twins");
    REQUIRE((device != text.npos && twins != text.npos));
    const std::set<std::string> on_device = functions_of(text.substr(device, twins - device));
    CHECK(on_device == functions_of(text.substr(twins)));
    for (const std::string& f : on_device)
      CHECK_MESSAGE(std::regex_search(probe, std::regex(cat("ptx::", f, "[(<]"))), f, " is not in the probe");
    found += on_device.size();
  }
  CHECK(found == 8 + 8);
  CHECK(functions_of(
            "\n__device__ inline void f() {}\nnamespace detail {\ninline void g() {}\n}  // namespace detail\n") ==
        std::set<std::string>{"f"});
}

TEST_CASE("nvcc fuses no products and sums, and has no quick division or root (G-53)") {
  const std::string text = read_file("kernels/cuda.mk");
  const std::size_t at = text.find("NVCCFLAGS  = ");
  REQUIRE(at != text.npos);
  const std::string flags = text.substr(at, text.find('\n', at) - at);
  CHECK(test::contains(flags, " -fmad=false"));
  CHECK_FALSE(test::contains(text, "use_fast_math"));
  CHECK_FALSE(test::contains(text, "-ftz=true"));
  // Whoever calls nvcc does so with these.
  std::size_t calls = 0;
  const std::string call = "\"$(CUDA_NVCC)\" ", asked = "test -n ";
  for (std::size_t i = 0; (i = text.find(call, i)) != text.npos; ++i) {
    if (text.compare(i - asked.size(), asked.size(), asked) == 0) continue;  // whether there is one
    CHECK(text.compare(i + call.size(), 12, "$(NVCCFLAGS)") == 0);
    ++calls;
  }
  CHECK(calls == 2);
}

TEST_CASE("every key that the error of a full GPU names is one that verbs know which train, or which answer") {
  const std::string text = read_file("kernels/gpu/cuda_memory.cpp");
  const std::size_t from = text.find("const char* help_against"), to = text.find("}  // namespace", from);
  REQUIRE(to != text.npos);
  const std::string said = text.substr(from, to - from);
  const std::regex name(R"(\b(dtype|[a-z]+\.[a-z_]+)(=|[ ,;\"]))");
  std::set<std::string> keys;
  for (std::sregex_iterator i(said.begin(), said.end(), name), end; i != end; ++i) keys.insert((*i)[1]);
  for (const std::string& key : keys) {
    const Key* known = cli::keys().find(key);
    CHECK_MESSAGE(known, key);
    const char* verb = key.starts_with("engine.") ? " serve " : " train ";
    if (known) CHECK_MESSAGE(test::contains(cat(" ", known->commands, " "), verb), key);
  }
  CHECK(keys.size() >= 11);
}

TEST_CASE("cuda-check finds each planted fault in what ptxas and the disassembler say (G-16, G-17, G-64)") {
  CHECK(std::system("sh tests/tools/cuda_check.sh --self-test >/dev/null") == 0);
}
