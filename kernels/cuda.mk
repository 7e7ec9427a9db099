# make cuda-check: every kernels/cuda/*.cu compiled by nvcc, and assembled for the GPU generations we write for; then
# tests/tools/cuda_check.sh reads what ptxas says and, where there is nvdisasm, what it made. Without nvcc it says so and
# passes: the same text is compiled and run by `make test` (kernels/sim).
#
# The text asks nowhere which GPU it is compiled for, so that one pass of the compiler serves all: its PTX for
# compute_80 is what each generation's ptxas gets. The host's half is the one that `make test` compiles, with warnings.
# CUDA_ARCHS=90a: that one only. tests/kernels/ptx_probe.cu goes along: the kernels use most of ov::ptx, it uses all.

CUDA_ARCHS = 80 90a 100
NVCCFLAGS  = -std=c++20 -fmad=false -Isrc -I. -Xcompiler -Wall,-Wextra,-ffp-contract=off
CUDA_SRC  := $(sort $(wildcard kernels/cuda/*.cu))
CUDA_NVCC  = $(or $(shell command -v $(NVCC) 2> /dev/null),$(wildcard /usr/local/cuda/bin/nvcc))
# make CUDA=1: the kernels become part of the program, and NVIDIA's runtime, linked statically; cuBLASLt is opened when a
# product needs it. The PTX goes along, for GPUs that are younger. Without a GPU the program works as it does without.
ifdef CUDA
$(if $(CUDA_NVCC),,$(error CUDA=1 needs nvcc of CUDA 13; NVCC=/path/to/nvcc says where it is))
comma     := ,
NVCC_CODE  = -arch=compute_80 -code=compute_80$(subst $() ,,$(CUDA_ARCHS:%=$(comma)sm_%))
LIBS      += $(dir $(CUDA_NVCC))../lib64/libcudart_static.a -ldl -lrt
$(B)/obj/kernels/gpu/%.o $(B)/obj/tests/tools/gpu_check.o: CXXFLAGS += -DOV_WITH_CUDA -isystem $(CUDA_HEADERS)
$(B)/obj/%.gpu.o: %.cu
	@mkdir -p $(@D); echo "  nvcc $<"; "$(CUDA_NVCC)" $(NVCCFLAGS) -O2 -MMD -MF $(@:.o=.d) -MT $@ $(NVCC_CODE) -c $< -o $@
-include $(GPU_OBJ:.o=.d)
endif
# Whether the last build was one with CUDA.
$(patsubst %.cpp,$(B)/obj/%.o,$(wildcard kernels/gpu/*.cpp) tests/tools/gpu_check.cpp): $(B)/with-cuda
$(B)/with-cuda: always
	@mkdir -p $(@D); echo '$(CUDA)' | cmp -s - $@ || echo '$(CUDA)' >$@

CUDA_LOGS  = $(CUDA_SRC:kernels/cuda/%.cu=$(B)/cuda/%.log) $(B)/cuda/probe/ptx_probe.log

# The vendor's headers, for the test that compares our declarations with them; empty without a toolkit.
CUDA_HEADERS = $(wildcard $(dir $(CUDA_NVCC))../include)
$(B)/obj/tests/kernels/gpu_declarations_test.o $(B)/obj/tests/kernels/nccl_declarations_test.o: CXXFLAGS += $(CUDA_HEADERS:%=-isystem %)

cuda-check:  ## compile the CUDA kernels for sm_80, sm_90a and sm_100; fails on a spill; occupancy and a floor a kernel
	@test -n "$(CUDA_NVCC)" || { echo "cuda-check: no nvcc here: nothing compiled for a GPU"; exit 0; }; \
	$(build) $(CUDA_LOGS) && sh tests/tools/cuda_check.sh $(B)/cuda "$(CUDA_ARCHS)"

$(B)/cuda/%.log: kernels/cuda/%.cu kernels/cuda.mk
	$(assemble)
$(B)/cuda/probe/%.log: tests/kernels/%.cu kernels/cuda.mk
	$(assemble)
define assemble
	@mkdir -p $(@D); echo "  nvcc $<"; rm -f $@; { \
	"$(CUDA_NVCC)" $(NVCCFLAGS) -arch=compute_80 -MMD -MF $(@:.log=.d) -MT $@ -ptx $< -o $(@:.log=.ptx) && \
	for arch in $(CUDA_ARCHS); do "$(dir $(CUDA_NVCC))ptxas" -v -arch=sm_$$arch $(@:.log=.ptx) -o $(@:.log=.$$arch.cubin) || exit 1; done; \
	} > $@.part 2>&1 && mv $@.part $@ || { cat $@.part; exit 1; }
endef
$(CUDA_LOGS): $(B)/cuda/archs
$(B)/cuda/archs: always
	@mkdir -p $(@D); echo '$(CUDA_ARCHS)' | cmp -s - $@ || echo '$(CUDA_ARCHS)' >$@
-include $(CUDA_LOGS:.log=.d)

# A library of cuBLASLt's name, for the test that opens it as a process with a GPU does.
$(B)/libcublasLt.so.13: tests/tools/cublaslt_library.cpp kernels/gpu/cublaslt_api.h
	@mkdir -p $(@D); echo "  link $@"; $(CXX) $(filter-out -MMD -MP,$(FLAGS)) -O1 -shared -fPIC -Wl,-soname,libcublasLt.so.13 $< -o $@
$(B)/unit-tests: | $(B)/libcublasLt.so.13

# What make gpu-check runs; --simulated works on any machine.
GPU_CHECK_OBJ = $(patsubst %.cpp,$(B)/obj/%.o,tests/tools/gpu_check.cpp tests/tools/gpu_check_kernels.cpp tests/tools/gpu_check_step.cpp tests/tools/gpu_ranks_check.cpp tests/devices/foreign_device.cpp tests/devices/sim_device.cpp) $(B)/obj/tests/kernels/ptx_probe.cu.o $(if $(CUDA),$(B)/obj/tests/kernels/ptx_probe.gpu.o)
$(B)/gpu-check: $(GPU_CHECK_OBJ) $(LIB_OBJ) $(SIM_OBJ)
	@echo "  link $@"; $(CXX) $(OPT) $(SAN) $^ $(LIBS) -o $@
-include $(GPU_CHECK_OBJ:.o=.d)
# The program on a machine whose GPU is the simulated one: whole recipes with --device cuda where there is none. The object that
# brings that GPU comes last: what it needs is there when it begins.
SIMULATED_OBJ = $(patsubst %.cpp,$(B)/obj/%.o,src/cli/main.cpp tests/devices/foreign_device.cpp tests/devices/sim_device.cpp tests/tools/simulated_gpu.cpp)
$(B)/simulated/onevision: $(LIB_OBJ) $(SIM_OBJ) $(SIMULATED_OBJ)
	@mkdir -p $(@D); echo "  link $@"; $(CXX) $(OPT) $(SAN) $^ $(LIBS) -o $@
-include $(SIMULATED_OBJ:.o=.d)
gpu-check:  ## on a machine with a GPU: every op, repeated bits, golden cases, the small recipe, a table of kernels; exit 3 without
	@sh tests/tools/gpu_check.sh --present
	@$(build) CUDA=1 B=$(B)/gpu $(B)/gpu/onevision $(B)/gpu/gpu-check
	@sh tests/tools/gpu_check.sh $(B)/gpu
gpu-sanitize:  ## the same ops and steps under compute-sanitizer: memory, races, what was never written; exit 3 without a GPU
	@sh tests/tools/gpu_check.sh --present
	@$(build) CUDA=1 B=$(B)/gpu $(B)/gpu/gpu-check
	@for tool in memcheck racecheck initcheck synccheck; do echo "  $$tool"; \
	  "$(dir $(CUDA_NVCC))compute-sanitizer" --tool $$tool --error-exitcode 1 $(B)/gpu/gpu-check $(B)/gpu/sanitize.json || exit 1; done

.PHONY: cuda-check gpu-check gpu-sanitize
