/* SPDX-License-Identifier: GPL-2.0-only */
// pair_style zoo: a released model of the zoo as an interaction of LAMMPS. LICENSE says why this file is under the GPL.
#ifndef LMP_PAIR_ZOO_H
#define LMP_PAIR_ZOO_H

#include <memory>
#include <string>
#include <vector>

#include "pair.h"
#include "zoo.h"

namespace LAMMPS_NS {

class PairZoo : public Pair {
  public:
    explicit PairZoo(class LAMMPS* lmp);
    ~PairZoo() override;
    void settings(int narg, char** arg) override;
    void coeff(int narg, char** arg) override;
    void init_style() override;
    double init_one(int i, int j) override;
    void compute(int eflag, int vflag) override;
    double memory_usage() override;

    // Features of a layer go from owners to ghosts, their gradients from ghosts to owners.
    int pack_forward_comm(int n, int* atoms, double* buffer, int, int*) override;
    void unpack_forward_comm(int n, int first, double* buffer) override;
    int pack_reverse_comm(int n, int first, double* buffer) override;
    void unpack_reverse_comm(int n, int* atoms, double* buffer) override;

  private:
    struct Free {
        void operator()(zoo_model* model) const { zoo_model_free(model); }
        void operator()(zoo_session* session) const { zoo_session_free(session); }
    };
    void load(const std::string& path);
    void selftest(const std::string& golden);
    void map_types(int n, char** symbols);
    void check_masses();
    void check_setting();
    void introduce(const std::string& path);
    void open_session();
    void build_edges();
    std::vector<int> owners() const;
    void run_layers(const zoo_graph& graph, bool same_edges);
    void add_results();
    void agree(bool good, const std::string& problem);
    void must(zoo_status status);

    zoo_options options_;
    std::unique_ptr<zoo_model, Free> model_;
    std::unique_ptr<zoo_session, Free> session_;
    int threads_ = 0;                  // of the session
    double energy_unit_ = 1;           // what 1 eV is in LAMMPS' unit of energy
    std::vector<int> number_of_type_;  // atomic numbers, from type 1 on

    // The graph lives as long as LAMMPS' neighbour list. Periodic images of atoms of this rank are those atoms
    // themselves; on a single rank no ghost is left.
    bigint list_ = -1;                          // which of LAMMPS' lists the edges are from
    int n_atoms_ = 0;                           // local, and with several ranks ghosts
    std::vector<int64_t> numbers_;              // [n_atoms]
    std::vector<int64_t> centers_, neighbors_;  // [edges]
    std::vector<int> images_;                   // [edges] where the neighbour is, as LAMMPS counts atoms
    std::vector<double> vectors_;               // [edges, 3] angstrom
    std::vector<double> energies_, forces_, virials_;
};

}  // namespace LAMMPS_NS

#endif
