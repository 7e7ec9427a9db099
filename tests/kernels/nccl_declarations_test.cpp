// Our declarations of NCCL's calls against its header, where that is installed (kernels/cuda.mk adds the toolkit's
// folder): the values of constants, the places of a struct's members, and what kind of thing each argument is.
#include "kernels/gpu/nccl_api.h"

#if __has_include(<nccl.h>) && __has_include(<cuda_runtime.h>)
#include <nccl.h>

#include <type_traits>

namespace {

using namespace ov::gpu;

template <class A, class B>
constexpr bool alike =
    sizeof(A) == sizeof(B) && std::is_pointer_v<A> == std::is_pointer_v<B>&& std::is_class_v<A> == std::is_class_v<B>;
template <class R, class... P, class Q, class... U>
constexpr bool same_call(R (*)(P...), Q (*)(U...)) {
  if constexpr (sizeof...(P) == sizeof...(U)) return alike<R, Q> && (alike<P, U> && ...);
  else return false;
}
#define OV_SAME(name, symbol, type) \
  static_assert(same_call(static_cast<nccl::Api::name##_type*>(nullptr), static_cast<decltype(&symbol)>(nullptr)));
OV_NCCL_CALLS(OV_SAME)

static_assert(!same_call(static_cast<int (*)(int)>(nullptr), static_cast<int (*)(void*)>(nullptr)));
static_assert(!same_call(static_cast<int (*)(int)>(nullptr), static_cast<int (*)(int, int)>(nullptr)));
static_assert(sizeof(nccl::Id) == sizeof(ncclUniqueId) && sizeof(nccl::Id) == NCCL_UNIQUE_ID_BYTES);

#define OV_PLACE(ours, theirs)                                                    \
  static_assert(offsetof(nccl::Config, ours) == offsetof(ncclConfig_t, theirs) && \
                sizeof(nccl::Config::ours) == sizeof(ncclConfig_t::theirs));
OV_PLACE(size, size)
OV_PLACE(magic, magic)
OV_PLACE(version, version)
OV_PLACE(blocking, blocking)
OV_PLACE(cluster_size, cgaClusterSize)
OV_PLACE(least_blocks, minCTAs)
OV_PLACE(most_blocks, maxCTAs)
OV_PLACE(net, netName)
OV_PLACE(split_share, splitShare)
static_assert(sizeof(nccl::Config) <= sizeof(ncclConfig_t) && NCCL_CONFIG_UNDEF_INT == INT_MIN);
static_assert(nccl::Config{}.magic == ncclConfig_t NCCL_CONFIG_INITIALIZER.magic);
static_assert(NCCL_VERSION(2, 18, 0) == nccl::Config{}.version);

#define OV_EQUAL(ours, theirs) static_assert(int(nccl::ours) == int(theirs));
OV_EQUAL(success, ncclSuccess)
OV_EQUAL(unhandled_cuda_error, ncclUnhandledCudaError)
OV_EQUAL(system_error, ncclSystemError)
OV_EQUAL(internal_error, ncclInternalError)
OV_EQUAL(invalid_argument, ncclInvalidArgument)
OV_EQUAL(invalid_usage, ncclInvalidUsage)
OV_EQUAL(remote_error, ncclRemoteError)
OV_EQUAL(in_progress, ncclInProgress)
OV_EQUAL(u8, ncclUint8)
OV_EQUAL(i64, ncclInt64)
OV_EQUAL(f32, ncclFloat32)
OV_EQUAL(f64, ncclFloat64)
OV_EQUAL(bf16, ncclBfloat16)
OV_EQUAL(sum, ncclSum)

}  // namespace
#endif
