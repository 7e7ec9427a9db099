// Which sanitizer this build runs under: g++ says so by macros, clang++ by features.
#pragma once

#if defined(__has_feature)
#define OV_HAS_FEATURE(name) __has_feature(name)
#else
#define OV_HAS_FEATURE(name) 0
#endif

#if defined(__SANITIZE_ADDRESS__) || OV_HAS_FEATURE(address_sanitizer)
#define OV_ADDRESS_SANITIZER 1
#else
#define OV_ADDRESS_SANITIZER 0
#endif

#if defined(__SANITIZE_THREAD__) || OV_HAS_FEATURE(thread_sanitizer)
#define OV_THREAD_SANITIZER 1
#else
#define OV_THREAD_SANITIZER 0
#endif

namespace ov {

constexpr bool address_sanitized = OV_ADDRESS_SANITIZER, thread_sanitized = OV_THREAD_SANITIZER;
// Slower several times and with memory of its own: limits on time and memory say nothing there.
constexpr bool sanitized = address_sanitized || thread_sanitized;

}  // namespace ov
