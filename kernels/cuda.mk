# make cuda-check: every kernels/cuda/*.cu compiled by nvcc for the two GPU generations we write for. A register spill
# or a stack frame fails, since either means that local arrays went to memory. Without nvcc it says so and passes: the
# same text is compiled and run by `make test` (kernels/sim).

CUDA_ARCHS = 80 90a
NVCCFLAGS  = -std=c++20 -O3 -fmad=false -Isrc -I. -Xcompiler -Wall,-Wextra,-ffp-contract=off
CUDA_SRC  := $(sort $(wildcard kernels/cuda/*.cu))
CUDA_NVCC  = $(or $(shell command -v $(NVCC) 2> /dev/null),$(wildcard /usr/local/cuda/bin/nvcc))

# The vendor's headers, for the test that compares our declarations with them; empty without a toolkit.
CUDA_HEADERS = $(wildcard $(dir $(CUDA_NVCC))../include)
$(B)/obj/tests/kernels/gpu_declarations_test.o: CXXFLAGS += $(CUDA_HEADERS:%=-isystem %)

# From the log of ptxas -v: kernel, architecture, registers, bytes spilled (stores + loads) and of stack.
define CUDA_TABLE
/Compiling entry function/ { split($$0, q, "'"); kernel = q[2]; arch = q[4] }
/bytes stack frame/        { stack = $$1; spill = $$5 + $$9 }
/Used [0-9]+ registers/    { for (i = 1; i < NF; ++i) if ($$i == "Used") registers = $$(i + 1)
                             printf "%-6s %9d %8d %8d  %s %s\n", arch, registers, spill, stack, file, kernel
                             bad += spill > 0 || stack > 0; ++n }
END { if (n == 0 || bad) { printf "cuda-check: %s: %d kernels, %d of them spill\n", file, n, bad > "/dev/stderr"; exit 1 } }
endef
export CUDA_TABLE

cuda-check:  ## compile the CUDA kernels for sm_80 and sm_90a; fails on a register spill
	@nvcc="$(CUDA_NVCC)"; test -n "$$nvcc" || { echo "cuda-check: no nvcc here: nothing compiled for a GPU"; exit 0; }; \
	set -e; mkdir -p $(B)/cuda; rm -f $(B)/cuda/table; \
	for f in $(CUDA_SRC); do for arch in $(CUDA_ARCHS); do \
	  log=$(B)/cuda/$$(basename $$f .cu).sm_$$arch.log; \
	  "$$nvcc" $(NVCCFLAGS) -gencode arch=compute_$$arch,code=sm_$$arch -Xptxas -v -c $$f -o $${log%.log}.o > $$log 2>&1 \
	    || { cat $$log; exit 1; }; \
	  grep -iE "warning" $$log && { echo "cuda-check: $$f: a warning"; exit 1; }; \
	  awk -v file=$$(basename $$f) "$$CUDA_TABLE" $$log >> $(B)/cuda/table || { cat $(B)/cuda/table; exit 1; }; \
	done; done; \
	echo "arch   registers    spill    stack  kernel"; \
	c++filt < $(B)/cuda/table | sed -E 's/void |ov::kernels::cuda::|\(anonymous namespace\):://g; s/\(.*//'

.PHONY: cuda-check
