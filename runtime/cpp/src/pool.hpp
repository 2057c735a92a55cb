// A few threads that wait for work. Tasks are numbered, so that what each computes does not depend on who computes it.
#pragma once

#include <atomic>
#include <condition_variable>
#include <exception>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace zoo {

class Pool {
  public:
    using Task = std::function<void(int)>;

    explicit Pool(int threads);
    ~Pool();
    Pool(const Pool&) = delete;
    Pool& operator=(const Pool&) = delete;

    int size() const { return int(threads_.size()) + 1; }
    // Calls task(0) ... task(count - 1), some at the same time, and returns when all are done. The first exception of a
    // task is thrown here. A task must not call run.
    void run(int count, const Task& task);
    // Keeps the calling thread on the first of the cores and the others on the next ones.
    void pin(const std::vector<int>& cores);

  private:
    void serve();
    void work();

    std::vector<std::thread> threads_;
    std::mutex mutex_;
    std::condition_variable wake_, done_;
    const Task* task_ = nullptr;
    int count_ = 0;
    std::atomic<int> next_{0}, busy_{0};
    std::atomic<unsigned> round_{0};
    bool stop_ = false;
    std::exception_ptr error_;
};

}  // namespace zoo
