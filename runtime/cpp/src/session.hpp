// A model at work: checks what a host gives, spreads it over threads, and puts the results together.
#pragma once

#include "neighbors.hpp"
#include "network.hpp"

namespace zoo {

struct Model {
    Parameters parameters;
    std::unique_ptr<Engine> engine;
    Model(Safetensors& file, const Options& options);
};

class Session {
  public:
    Session(std::shared_ptr<const Model> model, int threads);

    void compute(const zoo_graph& graph, const zoo_results& results);
    void compute(const zoo_structure& structure, double skin, const zoo_results& results);
    int64_t builds() const { return neighbors_.builds; }
    int threads() const { return pool_.size(); }
    void pin(const std::vector<int>& cores) { pool_.pin(cores); }
    const Model& model() const { return *model_; }

    void begin(const zoo_graph& graph);
    void follow(const zoo_graph& graph);
    void forward(int layer);
    void energy();
    void reverse(int layer);
    void end(const zoo_results& results);
    Worker& exchange(int64_t first, int64_t n) const;  // the worker whose rows a host may ask for now

  private:
    enum class Stage { none, forward, reverse };
    void set_elements(const PairList& list, const int64_t* numbers);
    void set_systems(const zoo_graph* graph, int n_local);
    void start(const zoo_graph& graph);
    void run(const PairList& list, bool gradients);
    void run_part(const PairList& list, std::size_t worker, int first_system, int last_system, Pool* pool,
                  bool gradients);
    Part part(const PairList& list, int first_system, int last_system, Pool* pool) const;
    void collect(const PairList& list, const zoo_results& results);
    void collect_energies(const PairList& list, const zoo_results& results);
    void collect_gradients(const PairList& list, const zoo_results& results);
    void collect_shortest(const PairList& list, double* shortest) const;
    std::vector<double*> contributions(int from);
    Worker& worker(std::size_t i);
    bool wants_gradients(const zoo_results& results) const;
    void require_stage(Stage stage, int layer, const char* call) const;

    std::shared_ptr<const Model> model_;
    Pool pool_;
    std::vector<std::unique_ptr<Worker>> workers_;
    std::vector<int32_t> row_of_;  // of each atomic number, or -1
    PairList list_;
    NeighborList neighbors_;
    std::vector<int32_t> elements_, system_;  // of each atom, in the list's order
    std::vector<int> start_;                  // first atom of each system, and one past the last
    std::vector<double> contributions_;       // [heads, n_local]
    std::vector<Vector> gradients_;           // dE/dr of each pair
    Stage stage_ = Stage::none;
    int layer_ = 0;
    int64_t edges_ = -1;  // of the graph that follow() may continue, or -1
};

}  // namespace zoo
