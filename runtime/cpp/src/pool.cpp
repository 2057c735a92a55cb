#include "pool.hpp"

namespace zoo {

Pool::Pool(int threads) {
    try {
        for (int t = 1; t < threads; ++t) threads_.emplace_back([this] { serve(); });
    } catch (...) {
        { std::lock_guard lock(mutex_); stop_ = true; ++round_; }
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
    std::unique_lock lock(mutex_);
    done_.wait(lock, [this] { return busy_ == 0; });
    if (error_) std::rethrow_exception(error_);
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
        // Layers follow each other within microseconds: look a while before sleeping.
        for (int spin = 0; spin < 4000 && round_ == seen; ++spin) std::atomic_signal_fence(std::memory_order_seq_cst);
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
