// What SchNet and wACSF have in common: layers forward, energies, layers in reverse, gradients of pairs.
#pragma once

#include <memory>

#include "pairs.hpp"
#include "parameters.hpp"
#include "pool.hpp"

namespace zoo {

// A run of whole systems of a pair list; atoms are counted from `first_atom` inside of a worker.
struct Part {
    const PairList* list;
    int first_atom, n_atoms, n_local;
    std::size_t first_pair, n_pairs;
    const int32_t* elements;  // [n_atoms]
    Pool* pool;               // null where other threads do other parts
};

// One graph going through one network, with all memory that this needs; used again for the next graph.
class Worker {
  public:
    virtual ~Worker() = default;
    virtual void begin(const Part& part) = 0;
    virtual void forward(int layer) = 0;
    // contributions[h][i] of each head to local atom i, and the start of the reverse pass where it is wanted.
    virtual void read_out(double* const* contributions, bool gradients) = 0;
    virtual void reverse(int layer) = 0;
    // Adds dE/dr of each pair, [n_pairs] eV/A.
    virtual void pair_gradients(Vector* gradients) = 0;
    // Rows that a host exchanges, for atoms counted as in the part.
    virtual void get_features(int atom, double* row) const = 0;
    virtual void set_features(int atom, const double* row) = 0;
    virtual void get_gradients(int atom, double* row) const = 0;
    virtual void add_gradients(int atom, const double* row) = 0;
};

struct Options {
    bool float64 = false, exact = false;
    double tolerance = 0;
    const char* instruction_set = nullptr;
    int member = -1;  // of a committee
};

// A network ready to run: never changes, and is shared by its workers.
class Engine {
  public:
    virtual ~Engine() = default;
    virtual std::unique_ptr<Worker> worker() const = 0;

    int layers = 1, features = 0, intervals = 0;
    double value_error = 0, slope_error = 0;
    std::string description;
};

std::unique_ptr<Engine> make_engine(const Parameters& parameters, const Options& options);
template <class T>
std::unique_ptr<Engine> make_schnet(const Parameters& parameters, const Options& options);
template <class T>
std::unique_ptr<Engine> make_wacsf(const Parameters& parameters, const Options& options);

}  // namespace zoo
