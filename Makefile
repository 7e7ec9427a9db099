# onevision: `make demo` does the main job, `make test` checks it. `make help` lists the rest.
CXX      ?= g++
OPT      ?=
ARCH     ?= -mavx2 -mfma
SAN      ?=
B        ?= build
NVCC     ?= nvcc
CLANG    ?= clang++
JOBS     ?= $(shell nproc)
# Tests of ranks, kills and servers wait for two fifths of their time; others compute meanwhile.
TEST_JOBS ?= $(shell expr 2 '*' $(JOBS))

# Everything is built by one recursive call, so that plain `make demo` uses all cores too.
build     = $(MAKE) --no-print-directory -j$(JOBS)

# Same bits everywhere: no contraction, no fast-math (README, "Same bits").
# Square roots need no errno: without it the loop over a row vectorises, and the bits are the same.
FLAGS     = -std=c++20 -Wall -Wextra -Werror -ffp-contract=off -fno-math-errno -g1 -Isrc -I. -MMD -MP
# OPT= sets one level for all, TEST_OPT= that of tests. Else: what computes is optimised most; tests compile in half the time without, and
# the bits are the same.
level     = $(or $(if $(filter tests/%,$<),$(TEST_OPT)),$(OPT),$(if $(filter kernels/% tests/bench/%,$<),-O3,$(if $(filter tests/%,$<),-O1,-O2)))
# A check that throws ends its test either way; without a handler around each, tests compile in four fifths of the time.
quick     = $(if $(filter tests/%,$<),-DDOCTEST_CONFIG_SUPER_FAST_ASSERTS)
CXXFLAGS += $(FLAGS) $(level) $(quick) $(ARCH) $(SAN) $(if $(SAN),-DOV_SANITIZED)
LIBS      = -ljpeg -lpng -lwebp -lutf8proc -lsnappy -lz -lzstd -llz4 -lbrotlidec -lpcre2-32 -lcpp-httplib -lyaml-cpp -lpthread

find = $(shell find $(1) -name '$(2)' 2>/dev/null | LC_ALL=C sort)
LIB_SRC   := $(filter-out src/cli/main.cpp,$(call find,src,*.cpp)) $(filter-out kernels/sim/%,$(call find,kernels,*.cpp))
SIM_SRC   := $(call find,kernels/sim,*.cpp)
CU_SRC    := $(call find,kernels/cuda,*.cu)
TEST_SRC  := $(filter-out tests/bench/% tests/tools/% tests/golden/% tests/fuzz/libfuzzer.cpp,$(call find,tests,*.cpp))
BENCH_SRC := $(call find,tests/bench,*.cpp)

GPU_OBJ   := $(if $(CUDA),$(CU_SRC:%.cu=$(B)/obj/%.gpu.o))
LIB_OBJ   := $(LIB_SRC:%.cpp=$(B)/obj/%.o) $(GPU_OBJ)
SIM_OBJ   := $(SIM_SRC:%.cpp=$(B)/obj/%.o) $(CU_SRC:%.cu=$(B)/obj/%.cu.o)
TEST_OBJ  := $(TEST_SRC:%.cpp=$(B)/obj/%.o)
BENCH_OBJ := $(BENCH_SRC:%.cpp=$(B)/obj/%.o)

all: $(B)/onevision  ## the program

# The commit that a program was built from: in one small object, so that another commit costs one link.
REVISION  := $(shell test -z "$$(git rev-parse --show-prefix 2>&1)" && git describe --always --abbrev=12 --exclude='*' --dirty=-changed)
$(B)/obj/src/base/revision.o: CXXFLAGS += -DOV_REVISION='"$(or $(REVISION),unknown)"'
$(B)/obj/src/base/revision.o: $(B)/revision
$(B)/revision: always
	@mkdir -p $(@D); echo '$(or $(REVISION),unknown)' | cmp -s - $@ || echo '$(or $(REVISION),unknown)' >$@
always:

# HTTP's library brings TLS, 4 MB and half of a start's time: in the program its functions are weak names that src/serve/http.h resolves
# when a verb needs them. The programs of tests are linked with it, so a name that it does not have is found there.
SERVE_OBJ := $(filter $(B)/obj/src/serve/%,$(LIB_OBJ))
$(B)/onevision: $(B)/obj/src/cli/main.o $(LIB_OBJ)
	@echo "  link $@"; $(LD) -r $(SERVE_OBJ) -o $(B)/obj/serve.o && objcopy -w -W '_ZN7httplib*' -W '_ZNK7httplib*' $(B)/obj/serve.o
	@$(CXX) $(OPT) $(SAN) -Wl,-z,lazy $(filter-out $(SERVE_OBJ),$^) $(B)/obj/serve.o $(filter-out -lcpp-httplib,$(LIBS)) -o $@
$(B)/unit-tests: $(TEST_OBJ) $(LIB_OBJ) $(SIM_OBJ) | $(B)/libnccl.so.2
	@echo "  link $@"; $(CXX) $(OPT) $(SAN) $^ $(LIBS) -o $@
# A library of NCCL's name, for the test that opens it as a process with GPUs does.
$(B)/libnccl.so.2: tests/tools/nccl_library.cpp kernels/gpu/nccl_api.h
	@mkdir -p $(@D); echo "  link $@"; $(CXX) $(filter-out -MMD -MP,$(FLAGS)) -O1 -shared -fPIC -Wl,-soname,libnccl.so.2 $< -o $@
$(B)/bench: $(BENCH_OBJ) $(LIB_OBJ)
	@echo "  link $@"; $(CXX) $(OPT) $(SAN) $^ $(LIBS) -lopenblas -o $@

$(B)/rice-probe: $(B)/obj/tests/tools/rice_probe.o $(LIB_OBJ)
	@echo "  link $@"; $(CXX) $(OPT) $(SAN) $^ $(LIBS) -o $@
$(B)/balance-table: $(B)/obj/tests/tools/balance_table.o $(LIB_OBJ)
	@echo "  link $@"; $(CXX) $(OPT) $(SAN) $^ $(LIBS) -o $@

$(B)/obj/%.o: %.cpp
	@mkdir -p $(@D); echo "  c++  $<"; $(CXX) $(CXXFLAGS) -c $< -o $@
$(B)/obj/%.cu.o: %.cu
	@mkdir -p $(@D); echo "  sim  $<"; $(CXX) $(CXXFLAGS) -DOV_SIM -x c++ -c $< -o $@

# ---- the two commands
demo: deps  ## the whole recipe on the toy world, small: 8 minutes on two idle cores after the build
	@$(build) $(B)/onevision
	@sh configs/demo/recipe.sh $(B)
test: deps  ## every test; the last line says 'N passed, N failed'
	@$(build) $(B)/unit-tests $(B)/onevision $(B)/fuzz-links
	@$(B)/unit-tests --jobs=$(TEST_JOBS)
lessons: deps  ## ten pictures learned by heart: data, checkpoint, training, answers in half a minute (DTYPE=bf16: in bf16)
	@$(build) $(B)/onevision
	@sh configs/demo/lessons.sh $(B) $(DTYPE)

rl-demo:  ## reinforcement learning behind make demo: a warm start, selection, two stages rewarded by their answers, before and after
	@$(build) $(B)/onevision
	@sh configs/rl/demo.sh $(B)
rl-table:  ## it beside its controls: two starts, three seeds, with paired standard errors; hours, and it can be cut off
	@$(build) $(B)/onevision
	@sh configs/rl/table.sh $(B)
rl-counts:  ## its first stage, counts and boxes, with the release's filter, ours, none, and supervised: three curves each
	@$(build) $(B)/onevision
	@sh configs/rl/counts.sh $(B) "219 220 221"

# ---- further checks
# The same short training run from builds that could differ: optimisation, compiler, instruction set.
test-bits:  ## -O1 and -O3, g++ and clang++, AVX2 and portable give the same bits (BUILDS=all: each change alone)
	@sh tests/tools/bits.sh "$(MAKE)" $(BUILDS)
demo-check:  ## the recipe at its smallest: undisturbed, on one core, killed again and again: the same bits
	@$(build) $(B)/onevision
	@sh tests/tools/demo_check.sh $(B)
demo-result:  ## what make demo ended with: the expected hash, and the accuracies that the README promises
	@sh tests/tools/demo_result.sh --self-test && sh tests/tools/demo_result.sh $(B)
test-math: $(B)/math-exhaustive  ## our float functions on all 2^32 inputs against fp64
	@$(B)/math-exhaustive
# Only tests/cli runs the program.
runs_program = $(or $(if $(ROOMS),,all),$(filter cli,$(ROOMS)))
# Tests that ask for too much memory, or that catch a fault of their own, see what they would see without the sanitizer.
room_tests = $(if $(ROOMS),TEST_SRC="tests/main.cpp $(foreach r,$(ROOMS),$(wildcard tests/$r/*.cpp))")
asan:  ## the unit tests under the address and undefined-behaviour sanitizers; ROOMS="base store": only theirs; TEST_ARGS=
	@rm -f $(B)/asan/unit-tests  # of other rooms
	@$(build) B=$(B)/asan OPT=-O1 SAN="-fsanitize=address,undefined -fno-sanitize-recover=all" $(room_tests) $(B)/asan/unit-tests $(if $(runs_program),$(B)/asan/onevision)
	@ASAN_OPTIONS=allocator_may_return_null=1:handle_segv=0:handle_sigbus=0 $(B)/asan/unit-tests --jobs=$(JOBS) $(TEST_ARGS)
# Only what reads files and messages, linked with no more than it needs: a third of the build.
READER_ROOMS = base store text image data fuzz comm math
READER_TESTS := tests/main.cpp tests/tensor/arena_test.cpp tests/tensor/tensor_test.cpp \
                $(filter-out tests/data/fixed_slots_test.cpp,$(filter $(READER_ROOMS:%=tests/%/%),$(TEST_SRC)))
READER_SRC   := $(filter $(patsubst %,src/%/%,tensor $(READER_ROOMS)) src/model/config% src/generate/text_stream% src/serve/api.cpp src/serve/http.cpp src/serve/media.cpp src/serve/sse.cpp src/rl/event_log.cpp,$(filter-out src/comm/nccl%,$(LIB_SRC))) \
                $(patsubst %,kernels/%.cpp,check copy rehearsed row_products rows gpu/scratch cpu/copy cpu/rows cpu/wide_vectors) tests/tools/sum_kernels.cpp
$(B)/reader-tests: $(READER_TESTS:%.cpp=$(B)/obj/%.o) $(READER_SRC:%.cpp=$(B)/obj/%.o)
	@echo "  link $@"; $(CXX) $(OPT) $(SAN) $^ $(LIBS) -o $@
# Tests that draw or count for long in what others read too: without them it takes three fifths of the time. `make asan` runs them.
LONG_COUNTS = tokenizer: every code point*,toy world: guessing*,toy world: no description*,toy world: every template*,the checker catches*,f32 functions*
# clang++ instruments in two thirds of g++'s time; tests themselves need no optimisation.
asan-readers: deps-fuzz  ## what reads files and messages under the address and undefined-behaviour sanitizers
	@$(build) B=$(B)/asan-readers CXX="$(CLANG)" OPT=-O1 TEST_OPT=-O0 SAN="-fsanitize=address,undefined -fno-sanitize-recover=all" \
	  $(B)/asan-readers/reader-tests
	@ASAN_OPTIONS=allocator_may_return_null=1:handle_segv=0:handle_sigbus=0 $(B)/asan-readers/reader-tests --jobs=$(JOBS) -tce="$(LONG_COUNTS)"
# Files of tests in which threads share nothing, or nothing that other files here do not share too, and two that need the simulated GPU.
UNSHARED := $(patsubst %,tests/base/%_test.cpp,config cosine directory_lock file json math rng sha256 text) \
            $(patsubst %,tests/data/%_test.cpp,conversation_file data_faults drawn_records empty_text json_records learn_tokenizer loader_normalise \
              loader_processor loader_sample mixture pack_index packing_rules parquet_records synth webdataset) \
            $(patsubst %,tests/train/%_test.cpp,checkpoint_proof contrastive golden_training gradient_sum logged_loss model_directory padded_tail \
              pretrain_vision schedule tensorboard)
# What threads share: the pool, the loaders, a training step. Linked without what runs, writes, serves or judges a whole program.
THREAD_TESTS := tests/main.cpp $(filter-out $(UNSHARED),$(filter tests/base/% tests/data/% tests/train/%,$(TEST_SRC)))
THREAD_SRC   := $(filter-out $(patsubst %,src/%/%,rl serve curate instruct math cli eval generate report) src/comm/nccl% src/audit/plan_mesh% \
                  src/train/stages/pretrain_vision.cpp src/train/stages/pretrain_clip.cpp $(patsubst %,kernels/gpu/%.cpp,algorithms cublaslt cuda_device cuda_memory cuda_runtime nccl staging),$(LIB_SRC))
$(B)/thread-tests: $(THREAD_TESTS:%.cpp=$(B)/obj/%.o) $(THREAD_SRC:%.cpp=$(B)/obj/%.o)
	@echo "  link $@"; $(CXX) $(OPT) $(SAN) $^ $(LIBS) -o $@
# Left to `make tsan`: runs that are killed, whose children have no threads to share, long counts, and what needs the program.
NOT_OF_THREADS = a run killed*,a run that is killed*,toy world files:*,toy world: guessing*,toy world: no description*,toy world: every template*,trace: in a run*
tsan-threads: deps-fuzz  ## the pool, the loaders and training under the thread sanitizer
	@$(build) B=$(B)/tsan-threads CXX="$(CLANG)" OPT=-O1 TEST_OPT=-O0 SAN=-fsanitize=thread $(B)/tsan-threads/thread-tests
	@TSAN_OPTIONS=die_after_fork=0 $(B)/tsan-threads/thread-tests --jobs=$(JOBS) -tce="$(NOT_OF_THREADS)"
# Tests that kill a run do it in a child: the sanitizer is told to bear threads after a fork.
tsan:  ## the unit tests under the thread sanitizer; ROOMS="base data train": only theirs
	@rm -f $(B)/tsan/unit-tests
	@$(build) B=$(B)/tsan OPT=-O1 SAN=-fsanitize=thread $(room_tests) $(B)/tsan/unit-tests $(if $(runs_program),$(B)/tsan/onevision)
	@TSAN_OPTIONS=die_after_fork=0 $(B)/tsan/unit-tests --jobs=$(JOBS) $(TEST_ARGS)
ubsan:  ## the unit tests under the undefined-behaviour sanitizer alone, which is quicker than asan
	@$(build) B=$(B)/ubsan OPT=-O1 SAN="-fsanitize=undefined -fno-sanitize-recover=all" $(B)/ubsan/unit-tests
	@$(B)/ubsan/unit-tests --jobs=$(JOBS)
# One binary for all readers, tests/fuzz/targets.cpp. What a target finds new is kept under build/fuzz/found.
FUZZ_SECONDS ?= 30
FUZZ_SAN  = -fsanitize=address,undefined,fuzzer-no-link -fno-sanitize-recover=all
fuzz: deps-fuzz  ## libFuzzer on every reader, FUZZ_SECONDS each (30) or FUZZ_RUNS= executions, TARGETS= some of them
	@$(build) B=$(B)/fuzz CXX="$(CLANG)" OPT=-O1 SAN="$(FUZZ_SAN)" $(B)/fuzz/fuzz
	@set -e; for t in $(or $(TARGETS),$$($(B)/fuzz/fuzz list)); do mkdir -p $(B)/fuzz/found/$$t; echo "  fuzz $$t"; \
	  FUZZ_TARGET=$$t $(B)/fuzz/fuzz -verbosity=0 $(if $(FUZZ_RUNS),-runs=$(FUZZ_RUNS) -print_final_stats=1,-max_total_time=$(FUZZ_SECONDS)) -timeout=10 -rss_limit_mb=4096 -max_len=20000 \
	  -artifact_prefix=$(B)/fuzz/$$t- $(B)/fuzz/found/$$t tests/fuzz/corpus/$$t; done
bench: deps-bench  ## ours, a peer, the ratio
	@$(build) $(B)/bench
	@env -u OPENBLAS_CORETYPE -u OPENBLAS_L2_SIZE $(B)/bench $(if $(TORCH),--torch $(TORCH)) $(if $(FAISS),--faiss $(FAISS)) $(if $(ARROW),--arrow $(ARROW)) $(if $(LLAMA),--llama $(LLAMA)) $(ONLY)
arch-check:  ## the include graph points one way
	@sh tests/tools/arch_check.sh --self-test && sh tests/tools/arch_check.sh
traps:  ## what a second implementation gets wrong, each with the test that proves it or a reason
	@sh tests/tools/traps.sh
format-check:  ## clang-format finds nothing to change
	@sh tests/tools/format_check.sh --self-test && sh tests/tools/format_check.sh
nightly:  ## what takes hours, part by part, with a dated log: seeds, kills, long fuzzing, planted faults, peers
	@sh tests/tools/nightly.sh $(PARTS)
peers-check:  ## our directories in Transformers and NeMo AutoModel, theirs here (PEERS_PYTHON= an interpreter that has them)
	@$(build) $(B)/onevision
	@sh tests/tools/peers_check.sh $(B)
clients-check:  ## the openai Python package against `serve` (from PyPI, under build/clients)
	@$(build) $(B)/onevision
	@sh tests/tools/clients_check.sh $(B)
clone-check:  ## the README's two commands in a fresh clone of HEAD
	@sh tests/tools/clone_check.sh

# ---- packages
deps:  ## install the Debian packages that are missing
	@sh tests/tools/deps.sh
deps-fuzz:  ## the same for make fuzz
	@sh tests/tools/deps.sh fuzz
deps-bench:  ## the same for the peers of make bench
	@sh tests/tools/deps.sh bench

$(B)/math-exhaustive: tests/tools/math_exhaustive.cpp tests/tools/math_check.h src/base/math.h src/base/hash.h
	@mkdir -p $(@D); echo "  c++  $<"; $(CXX) $(filter-out -MMD -MP,$(CXXFLAGS)) $< -lpthread -o $@
# What the bits program needs: no files, no pictures, no text.
BITS_SRC := $(patsubst %,src/base/%.cpp,error io/file io/mapped_file json parallel sha256 text utf8) \
            $(call find,src/tensor,*.cpp) $(call find,src/autograd,*.cpp) src/nn/parameters.cpp src/nn/init.cpp src/nn/lora.cpp src/nn/moe.cpp \
            $(patsubst %,src/model/%.cpp,config decoder grids onevision rice_vit) $(patsubst %,src/generate/%.cpp,attention_map engine generate pages pass sampling) src/data/normalise.cpp \
            $(call find,src/comm,*.cpp) $(call find,src/parallel,*.cpp) $(patsubst %,src/train/%.cpp,engine floor gradient_sum leaf_order objective objectives/language objectives/language_chunk objectives/language_context optimizer pipeline_run schedule step_times step_trace)
BITS_OBJ := $(BITS_SRC:%.cpp=$(B)/obj/%.o) $(patsubst %.cpp,$(B)/obj/%.o,$(filter kernels/%,$(LIB_SRC))) $(B)/obj/tests/tools/bits.o
$(B)/bits: $(BITS_OBJ)
	@$(CXX) $(OPT) $(SAN) $^ -lpthread -o $@

# What the fuzzer needs: the readers and what they stand on; no training, no program.
FUZZ_SRC  := $(filter src/base/% src/tensor/% src/store/% src/text/% src/image/% src/data/raw/% src/data/sample/% \
               src/data/pack/index.cpp src/data/mixture.cpp src/data/reject.cpp src/generate/text_stream.cpp src/model/config%.cpp \
               src/serve/api.cpp src/serve/http.cpp src/serve/media.cpp src/serve/sse.cpp src/rl/event_log.cpp %/copy.cpp \
               $(patsubst %,src/comm/%.cpp,host_list link machine_notes machines rank_in_job shared_region tcp),$(LIB_SRC)) \
             tests/fuzz/targets.cpp tests/fuzz/libfuzzer.cpp
FUZZ_OBJ  := $(FUZZ_SRC:%.cpp=$(B)/obj/%.o)
$(B)/fuzz: $(FUZZ_OBJ)
	@echo "  link $@"; $(CXX) $(OPT) $(SAN) -fsanitize=fuzzer $^ $(LIBS) -o $@
# Whether that list is whole, without clang: as `make fuzz` would link it, but never run.
$(B)/fuzz-links: $(FUZZ_OBJ)
	@$(CXX) $(OPT) $(SAN) -Wl,--defsym=main=LLVMFuzzerTestOneInput $^ $(LIBS) -o $@

help:  ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*##/  make \1\t/' | expand -t 20

clean:  ## remove build/
	rm -rf build

.PHONY: all always demo rl-demo rl-table rl-counts test lessons ubsan fuzz deps-fuzz demo-check demo-result test-bits test-math asan asan-readers tsan tsan-threads bench arch-check traps format-check nightly peers-check clients-check clone-check deps deps-bench help clean
-include kernels/cuda.mk
-include $(sort $(LIB_OBJ:.o=.d) $(SIM_OBJ:.o=.d) $(TEST_OBJ:.o=.d) $(BENCH_OBJ:.o=.d) $(BITS_OBJ:.o=.d) $(FUZZ_OBJ:.o=.d)) $(B)/obj/src/cli/main.d
