#include "pool.hpp"

#if defined(__linux__)
#include <pthread.h>
#include <sched.h>
#endif

#include "error.hpp"

namespace zoo {
namespace {

// Layers follow each other within microseconds, so look a while before sleeping; let others run meanwhile, who may be
// the ones that are waited for.
template <class Ready>
void look_for(const Ready& ready) {
    for (int i = 0; i < 200 && !ready(); ++i) std::this_thread::yield();
}

}  // namespace

Pool::Pool(int threads) {
    try {
        for (int t = 1; t < threads; ++t) threads_.emplace_back([this] { serve(); });
    } catch (...) {
        {
            std::lock_guard lock(mutex_);
            stop_ = true;
            ++round_;
        }
        wake_.notify_all();
        for (auto& thread : threads_) thread.join();
        throw;
    }
}

Pool::~Pool() {
    {
        std::lock_guard lock(mutex_);
        stop_ = true;
        ++round_;
    }
    wake_.notify_all();
    for (auto& thread : threads_) thread.join();
}

void Pool::run(int count, const Task& task) {
    if (threads_.empty() || count <= 1) {
        for (int i = 0; i < count; ++i) task(i);
        return;
    }
    {
        std::lock_guard lock(mutex_);
        task_ = &task;
        count_ = count;
        busy_ = int(threads_.size());
        next_ = 0;
        error_ = nullptr;
        ++round_;
    }
    wake_.notify_all();
    work();
    look_for([this] { return busy_ == 0; });
    std::unique_lock lock(mutex_);
    done_.wait(lock, [this] { return busy_ == 0; });
    if (error_) std::rethrow_exception(error_);
}

void Pool::pin([[maybe_unused]] const std::vector<int>& cores) {
#if defined(__linux__)
    for (std::size_t t = 0; t < cores.size(); ++t) {
        cpu_set_t set;
        CPU_ZERO(&set);
        if (cores[t] < 0 || cores[t] >= CPU_SETSIZE) bad_argument("there is no core " + std::to_string(cores[t]));
        CPU_SET(std::size_t(cores[t]), &set);
        const pthread_t thread = t == 0 ? pthread_self() : threads_[t - 1].native_handle();
        if (pthread_setaffinity_np(thread, sizeof set, &set) != 0) {
            bad_argument("this process may not use core " + std::to_string(cores[t]));
        }
    }
#else
    bad_argument("threads can be kept on cores on Linux only");
#endif
}

void Pool::work() {
    for (int i = next_++; i < count_; i = next_++) {
        try {
            (*task_)(i);
        } catch (...) {
            std::lock_guard lock(mutex_);
            if (!error_) error_ = std::current_exception();
        }
    }
}

void Pool::serve() {
    unsigned seen = 0;
    while (true) {
        look_for([&] { return round_ != seen; });
        {
            std::unique_lock lock(mutex_);
            wake_.wait(lock, [&] { return round_ != seen; });
            seen = round_;
            if (stop_) return;
        }
        work();
        std::lock_guard lock(mutex_);
        if (--busy_ == 0) done_.notify_one();
    }
}

}  // namespace zoo
