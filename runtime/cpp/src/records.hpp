// Pairs laid out for the kernels: each block of atoms has its own, so that threads never write to the same row.
#pragma once

#include "network.hpp"
#include "spline.hpp"

namespace zoo {

// Atoms whose pairs are computed together, and whose rows then go through the dense layers while they are in the cache.
constexpr int group_atoms = 48;

template <class T>
class Records {
  public:
    struct Group {
        int32_t index;  // of the atoms a from index * group_atoms on
        std::size_t begin, end;
    };
    void clear();
    void add(int32_t a, int32_t b, std::size_t pair) { entries_.push_back({a, b, pair}); }
    // Looks the distances up. Within groups of neighbouring atoms pairs are put in the order of their distance, so that
    // the rows of the table are found in the fastest cache.
    void place(const Tables<T>& tables, const double* distances);
    // The same for a table of one value and one slope for each pair.
    void place_exact();
    // Makes a and b rows of [atom, element of the other atom], for sums over the neighbours of each element.
    void split_by_element(const int32_t* elements, int n_elements);

    Pairs<T> pairs() const { return {int64_t(entries_.size()), a_.data(), b_.data(), row_.data(), weight_.data()}; }
    Pairs<T> pairs(const Group& g) const {
        return {int64_t(g.end - g.begin), a_.data() + g.begin, b_.data() + g.begin, row_.data() + g.begin,
                weight_.data() + g.begin * 2 * spline_order};
    }
    const std::vector<Group>& groups() const { return groups_; }
    std::size_t size() const { return entries_.size(); }
    std::size_t pair(std::size_t r) const { return entries_[r].pair; }
    int32_t a(std::size_t r) const { return entries_[r].a; }
    int32_t b(std::size_t r) const { return entries_[r].b; }
    Buffer<T> slope;  // [size]

  private:
    struct Entry {
        int32_t a, b;
        std::size_t pair;
    };
    void reserve();
    void find_groups();
    std::vector<Group> groups_;
    std::vector<Entry> entries_, sorted_;
    std::vector<int32_t> keys_;
    Buffer<int32_t> a_, b_, row_;
    Buffer<T> weight_;
};

// The records of the atoms [from, to).
template <class T>
struct Block {
    int from = 0, to = 0;
    Records<T> inside;    // pairs between two atoms of the block
    Records<T> across;    // pairs with an atom of another block, which has them too
    Records<T> outgoing;  // edges without their reverse: centre here
    Records<T> incoming;  // edges without their reverse: neighbour here; a is the neighbour
};

// Cuts the atoms into blocks with about as many pairs each and sorts the pairs closer than the cutoff into them.
template <class T>
void make_blocks(const Part& part, double cutoff, int n_blocks, std::vector<Block<T>>& blocks);

// Calls f(block, number of the block) for all of them, in parallel where the part has threads.
template <class T, class F>
void for_blocks(const Part& part, std::vector<Block<T>>& blocks, const F& f) {
    const auto task = [&](int i) { f(blocks[std::size_t(i)], i); };
    if (part.pool) part.pool->run(int(blocks.size()), task);
    else
        for (int i = 0; i < int(blocks.size()); ++i) task(i);
}

}  // namespace zoo
