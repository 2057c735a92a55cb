#include "records.hpp"

#include <algorithm>

namespace zoo {
template <class T>
void Records<T>::clear() {
    entries_.clear();
}

template <class T>
void Records<T>::reserve() {
    const std::size_t n = entries_.size();
    reserve_rows(a_, n);
    reserve_rows(b_, n);
    reserve_rows(row_, n);
    reserve_rows(weight_, n * 2 * spline_order);
    reserve_rows(slope, n);
    find_groups();
    std::fill_n(slope.begin(), n, T(0));
}

template <class T>
void Records<T>::find_groups() {
    groups_.clear();
    for (std::size_t r = 0; r < entries_.size(); ++r) {
        const int32_t index = entries_[r].a / group_atoms;
        if (groups_.empty() || groups_.back().index != index) groups_.push_back({index, r, r});
        groups_.back().end = r + 1;
    }
}

template <class T>
void Records<T>::place(const Tables<T>& tables, const double* distances) {
    reserve();
    sorted_.resize(entries_.size());
    keys_.resize(entries_.size());
    const double inverse = tables.intervals / tables.end;
    for (std::size_t r = 0; r < entries_.size(); ++r) {
        keys_[r] = std::min(int32_t(distances[entries_[r].pair] * inverse), tables.intervals - 1);
    }
    std::vector<int32_t> start(std::size_t(tables.intervals) + 1);
    for (const Group& group : groups_) {
        std::fill(start.begin(), start.end(), 0);
        for (std::size_t r = group.begin; r < group.end; ++r) ++start[std::size_t(keys_[r]) + 1];
        for (std::size_t k = 1; k < start.size(); ++k) start[k] += start[k - 1];
        for (std::size_t r = group.begin; r < group.end; ++r) {
            sorted_[group.begin + std::size_t(start[std::size_t(keys_[r])]++)] = entries_[r];
        }
    }
    entries_.swap(sorted_);
    for (std::size_t r = 0; r < entries_.size(); ++r) {
        a_[r] = entries_[r].a;
        b_[r] = entries_[r].b;
        tables.place(distances[entries_[r].pair], &row_[r], &weight_[r * 2 * spline_order]);
    }
}

template <class T>
void Records<T>::place_exact() {
    reserve();
    std::fill_n(weight_.begin(), entries_.size() * 2 * spline_order, T(0));
    for (std::size_t r = 0; r < entries_.size(); ++r) {
        a_[r] = entries_[r].a;
        b_[r] = entries_[r].b;
        row_[r] = int32_t(2 * r);
        weight_[r * 2 * spline_order] = 1;
        weight_[(r * 2 + 1) * spline_order + 1] = 1;
    }
}

template <class T>
void Records<T>::split_by_element(const int32_t* elements, int n_elements) {
    for (std::size_t r = 0; r < entries_.size(); ++r) {
        a_[r] = entries_[r].a * n_elements + elements[entries_[r].b];
        b_[r] = entries_[r].b * n_elements + elements[entries_[r].a];
    }
}

template <class T>
void make_blocks(const Part& part, double cutoff, int n_blocks, std::vector<Block<T>>& blocks) {
    const Pair* pairs = part.list->pairs.data() + part.first_pair;
    const double* distances = part.list->distances.data() + part.first_pair;
    n_blocks = std::max(1, std::min(n_blocks, part.n_atoms / 32));
    blocks.resize(std::size_t(n_blocks));
    std::vector<std::size_t> work(std::size_t(part.n_atoms) + 1, 0);
    if (n_blocks > 1) {
        for (std::size_t p = 0; p < part.n_pairs; ++p) {
            ++work[std::size_t(pairs[p].a - part.first_atom) + 1];
            ++work[std::size_t(pairs[p].b - part.first_atom) + 1];
        }
        for (std::size_t i = 1; i < work.size(); ++i) work[i] += work[i - 1];
    }
    std::vector<int32_t> owner(n_blocks > 1 ? std::size_t(part.n_atoms) : 0);
    for (int t = 0, atom = 0; t < n_blocks; ++t) {
        blocks[std::size_t(t)].from = atom;
        const std::size_t share = work.back() * std::size_t(t + 1) / std::size_t(n_blocks);
        while (atom < part.n_atoms && (t + 1 == n_blocks || work[std::size_t(atom)] < share)) {
            if (n_blocks > 1) owner[std::size_t(atom)] = t;
            ++atom;
        }
        blocks[std::size_t(t)].to = atom;
    }
    for_blocks(part, blocks, [&](Block<T>& block, int t) {
        block.inside.clear(), block.across.clear(), block.outgoing.clear(), block.incoming.clear();
        const auto here = [&](int32_t atom) { return n_blocks == 1 || owner[std::size_t(atom)] == t; };
        for (std::size_t p = 0; p < part.n_pairs; ++p) {
            if (!(distances[p] < cutoff)) continue;
            const int32_t a = pairs[p].a - part.first_atom, b = pairs[p].b - part.first_atom;
            const bool a_here = here(a), b_here = here(b);
            if (pairs[p].both) {
                if (a_here && b_here) block.inside.add(std::min(a, b), std::max(a, b), p);
                else if (a_here) block.across.add(a, b, p);
                else if (b_here) block.across.add(b, a, p);
            } else {
                if (a_here) block.outgoing.add(a, b, p);
                if (b_here) block.incoming.add(b, a, p);
            }
        }
    });
}

template class Records<float>;
template class Records<double>;
template void make_blocks<float>(const Part&, double, int, std::vector<Block<float>>&);
template void make_blocks<double>(const Part&, double, int, std::vector<Block<double>>&);

}  // namespace zoo
