// Vectors whose storage starts at a cache line.
#pragma once

#include <cstddef>
#include <new>
#include <vector>

namespace zoo {

template <class T>
struct Aligned {
    using value_type = T;
    Aligned() = default;
    template <class U>
    Aligned(const Aligned<U>&) {}
    T* allocate(std::size_t n) { return static_cast<T*>(::operator new(n * sizeof(T), std::align_val_t(64))); }
    void deallocate(T* p, std::size_t) { ::operator delete(p, std::align_val_t(64)); }
    // Numbers are left as they are: every buffer is written before it is read.
    template <class U>
    void construct(U* p) {
        ::new (static_cast<void*>(p)) U;
    }
    template <class U, class... Args>
    void construct(U* p, Args&&... args) {
        ::new (static_cast<void*>(p)) U(static_cast<Args&&>(args)...);
    }
    friend bool operator==(const Aligned&, const Aligned&) { return true; }
    friend bool operator!=(const Aligned&, const Aligned&) { return false; }
};

template <class T>
using Buffer = std::vector<T, Aligned<T>>;

// At least n elements, with unspecified values; never shrinks, so that steps of a simulation allocate nothing.
template <class T>
void reserve_rows(Buffer<T>& buffer, std::size_t n) {
    if (buffer.size() < n) buffer = Buffer<T>(n);
}

}  // namespace zoo
