# onevision: `make demo` does the main job, `make test` checks it. `make help` lists the rest.
CXX      ?= g++
OPT      ?= -O3
ARCH     ?= -mavx2 -mfma
SAN      ?=
B        ?= build
NVCC     ?= nvcc
THREADS  ?= 2

# Same bits everywhere: no contraction, no fast-math (README, "Same bits").
FLAGS     = -std=c++20 -Wall -Wextra -Werror -ffp-contract=off -g1 -Isrc -I. -MMD -MP
CXXFLAGS += $(FLAGS) $(OPT) $(ARCH) $(SAN)
LIBS      = -ljpeg -lpng -lwebp -lutf8proc -lpthread

find = $(shell find $(1) -name '$(2)' 2>/dev/null | LC_ALL=C sort)
LIB_SRC   := $(filter-out src/cli/main.cpp,$(call find,src,*.cpp)) $(filter-out kernels/sim/%,$(call find,kernels,*.cpp))
SIM_SRC   := $(call find,kernels/sim,*.cpp)
CU_SRC    := $(call find,kernels/cuda,*.cu)
TEST_SRC  := $(filter-out tests/bench/% tests/tools/% tests/golden/%,$(call find,tests,*.cpp))
BENCH_SRC := $(call find,tests/bench,*.cpp)

LIB_OBJ   := $(LIB_SRC:%.cpp=$(B)/obj/%.o)
SIM_OBJ   := $(SIM_SRC:%.cpp=$(B)/obj/%.o) $(CU_SRC:%.cu=$(B)/obj/%.cu.o)
TEST_OBJ  := $(TEST_SRC:%.cpp=$(B)/obj/%.o)
BENCH_OBJ := $(BENCH_SRC:%.cpp=$(B)/obj/%.o)

all: $(B)/onevision  ## the program

$(B)/onevision: $(B)/obj/src/cli/main.o $(LIB_OBJ)
	@echo "  link $@"; $(CXX) $(OPT) $(SAN) $^ $(LIBS) -o $@
$(B)/unit-tests: $(TEST_OBJ) $(LIB_OBJ) $(SIM_OBJ)
	@echo "  link $@"; $(CXX) $(OPT) $(SAN) $^ $(LIBS) -o $@
$(B)/bench: $(BENCH_OBJ) $(LIB_OBJ)
	@echo "  link $@"; $(CXX) $(OPT) $(SAN) $^ $(LIBS) -lopenblas -o $@

$(B)/obj/%.o: %.cpp Makefile
	@mkdir -p $(@D); echo "  c++  $<"; $(CXX) $(CXXFLAGS) -c $< -o $@
$(B)/obj/%.cu.o: %.cu Makefile
	@mkdir -p $(@D); echo "  sim  $<"; $(CXX) $(CXXFLAGS) -DOV_SIM -x c++ -c $< -o $@

help:  ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*##/  make \1\t/' | expand -t 20

clean:  ## remove build/
	rm -rf build

.PHONY: all help clean
-include $(LIB_OBJ:.o=.d) $(SIM_OBJ:.o=.d) $(TEST_OBJ:.o=.d) $(BENCH_OBJ:.o=.d) $(B)/obj/src/cli/main.d
