/* SPDX-License-Identifier: GPL-2.0-only */
// The network is run layer by layer. Between layers LAMMPS brings the features of ghost atoms from their owners, and on
// the way back adds the gradients of ghosts to their owners; so ghosts need to reach no farther than one cutoff.
#include "pair_zoo.h"

#include <algorithm>
#include <cmath>

#include "atom.h"
#include "comm.h"
#include "elements.h"
#include "error.h"
#include "force.h"
#include "json.h"
#include "memory.h"
#include "neigh_list.h"
#include "neighbor.h"
#include "update.h"

using namespace LAMMPS_NS;

namespace {

constexpr double same_mass = 0.02;  // u: how closely input files write standard atomic masses

std::string symbol(int z) { return zoo::elements[z - 1].symbol; }

double number(const json& from, const char* key, double missing) {
    const auto found = from.find(key);
    return found != from.end() && found->is_number() ? found->get<double>() : missing;
}

}  // namespace

PairZoo::PairZoo(LAMMPS* lmp) : Pair(lmp) {
    restartinfo = 0;
    one_coeff = 1;
    manybody_flag = 1;
    single_enable = 0;
    centroidstressflag = CENTROID_NOTAVAIL;
    no_virial_fdotr_compute = 1;  // sums over local and ghost atoms would miss what full lists share
    zoo_options_init(&options_);
}

PairZoo::~PairZoo() {
    if (!allocated || copymode) return;
    memory->destroy(setflag);
    memory->destroy(cutsq);
}

// Every rank calls. One message where all fail alike; a rank that fails alone stops the others.
void PairZoo::agree(bool good, const std::string& problem) {
    int failed = !good, everywhere = 0;
    MPI_Allreduce(&failed, &everywhere, 1, MPI_INT, MPI_MIN, world);
    if (everywhere) error->all(FLERR, "pair style zoo: " + problem);
    if (failed) error->one(FLERR, "pair style zoo: " + problem);
}

void PairZoo::must(zoo_status status) {
    if (status != ZOO_OK) error->one(FLERR, std::string("pair style zoo: ") + zoo_last_error());
}

void PairZoo::settings(int narg, char** arg) {
    session_.reset();
    model_.reset();
    list_ = -1;
    zoo_options_init(&options_);
    for (int k = 0; k < narg; k += 2) {
        const std::string key = arg[k], value = k + 1 < narg ? arg[k + 1] : "";
        if (key == "member" && !value.empty()) {
            options_.member = utils::inumeric(FLERR, value, true, lmp);
        } else if (key == "dtype" && (value == "float32" || value == "float64")) {
            options_.dtype = value == "float64" ? ZOO_FLOAT64 : ZOO_FLOAT32;
        } else {
            error->all(FLERR, "pair style zoo: '" + key + " " + value +
                                  "' is not a setting; allowed are `member K` and `dtype float32|float64`");
        }
    }
    const std::string units = update->unit_style;
    if (units != "metal" && units != "real") {
        error->all(FLERR, "pair style zoo: units " + units +
                              " are not converted, since models are in eV and angstrom; use `units metal` or "
                              "`units real`");
    }
    energy_unit_ = units == "real" ? utils::get_conversion_factor(utils::ENERGY, utils::METAL2REAL) : 1.0;
    if (allocated) std::fill_n(setflag[0], (atom->ntypes + 1) * (atom->ntypes + 1), 0);
}

void PairZoo::coeff(int narg, char** arg) {
    const int n = atom->ntypes;
    if (narg < 3 || std::string(arg[0]) != "*" || std::string(arg[1]) != "*" || narg != 3 + n) {
        error->all(FLERR, "pair style zoo: give `pair_coeff * * MODEL` and one element for each of the " +
                              std::to_string(n) + " atom types, in their order; " +
                              std::to_string(std::max(narg - 3, 0)) + " are given");
    }
    load(arg[2]);
    map_types(n, arg + 3);
    if (!allocated) {
        memory->create(setflag, n + 1, n + 1, "pair:setflag");
        memory->create(cutsq, n + 1, n + 1, "pair:cutsq");
        allocated = 1;
    }
    std::fill_n(setflag[0], (n + 1) * (n + 1), 1);
}

void PairZoo::load(const std::string& path) {
    session_.reset();
    list_ = -1;
    const bool folder = platform::path_is_directory(path);
    const std::string file = folder ? platform::path_join(path, "model.safetensors") : path;
    zoo_model* model = nullptr;
    const zoo_status status = zoo_model_load(file.c_str(), &options_, &model);
    model_.reset(model);
    // What a loader of files can be asked wrongly is the member of a committee.
    const char* advice = status == ZOO_ERROR_ARGUMENT ? "; in LAMMPS by `pair_style zoo member K`" : "";
    agree(status == ZOO_OK, status == ZOO_OK ? "" : zoo_last_error() + std::string(advice));
    open_session();
    introduce(path);
    const std::string golden = platform::path_join(path, "golden.json");
    // A committee's golden numbers are those of its mean. All ranks or none, since they wait for each other in the test.
    int test = folder && options_.member < 0 && platform::file_is_readable(golden);
    MPI_Bcast(&test, 1, MPI_INT, 0, world);
    if (test) selftest(golden);
}

void PairZoo::selftest(const std::string& golden) {
    const json tolerance = json::parse(zoo_model_metadata(model_.get())).value("tolerance", json::object());
    double energy = 0, forces = 0;
    const zoo_status status = zoo_selftest(session_.get(), golden.c_str(), &energy, &forces);
    agree(status == ZOO_OK, status == ZOO_OK ? "" : zoo_last_error());
    const bool good = energy <= number(tolerance, "energy", 1e-5) && forces <= number(tolerance, "forces", 1e-4);
    agree(good, fmt::format("{} is not reproduced: off by {:.2g} eV/atom and {:.2g} eV/angstrom; fetch the release "
                            "again, and report it if this stays",
                            golden, energy, forces));
    if (comm->me == 0)
        utils::logmesg(lmp, "zoo: golden.json reproduced to {:.1g} eV/atom and {:.1g} eV/angstrom\n", energy, forces);
}

void PairZoo::map_types(int n, char** symbols) {
    const std::vector<int> known(zoo_model_species(model_.get()),
                                 zoo_model_species(model_.get()) + zoo_model_n_species(model_.get()));
    std::string allowed;
    for (const int z : known) allowed += (allowed.empty() ? "" : ", ") + symbol(z);
    number_of_type_.assign(std::size_t(n) + 1, 0);
    for (int type = 1; type <= n; ++type) {
        const std::string given = symbols[type - 1];
        const auto z = std::find_if(known.begin(), known.end(), [&](int k) { return symbol(k) == given; });
        if (given == "NULL") {
            error->all(FLERR, fmt::format("pair style zoo: type {} is NULL, but an atom that the model does not see "
                                          "would change the energy of its neighbours; give each type its element, "
                                          "one of {}",
                                          type, allowed));
        }
        if (z == known.end()) {
            error->all(FLERR, fmt::format("pair style zoo: type {} is {}, but {} knows {}; give each type the element "
                                          "that it is",
                                          type, given, zoo_model_name(model_.get()), allowed));
        }
        number_of_type_[std::size_t(type)] = *z;
    }
}

void PairZoo::introduce(const std::string& path) {
    if (comm->me != 0) return;
    const zoo_model* model = model_.get();
    utils::logmesg(lmp, "zoo: {} {} from {}\nzoo: {}\n", zoo_model_name(model), zoo_model_version(model), path,
                   zoo_model_description(model));
    const json metrics = json::parse(zoo_model_metadata(model)).value("metrics", json::object());
    for (const char* name : {"test/energy_per_atom_mae", "test/energy_mae", "test/forces_mae"}) {
        const json error = metrics.is_object() ? metrics.value(name, json()) : json();
        const json unit = error.is_object() ? error.value("unit", json()) : json();
        if (unit.is_string()) {
            utils::logmesg(lmp, "zoo: {} {:.3g} {} on {:.0f} values of the data set's test split\n", name,
                           number(error, "value", 0), unit.get<std::string>(), number(error, "n", 0));
        }
    }
    utils::logmesg(lmp, "zoo: cutoff {:g} angstrom; 1 eV is {:.8g} of the energy unit of `units {}`; {}\n",
                   zoo_model_cutoff(model), energy_unit_, update->unit_style,
                   zoo_model_n_features(model) ? fmt::format("ranks exchange {} features an atom between {} layers",
                                                             zoo_model_n_features(model), zoo_model_n_layers(model))
                                               : "ranks exchange no features");
}

void PairZoo::open_session() {
    if (session_ && threads_ == comm->nthreads) return;
    zoo_session* session = nullptr;
    const zoo_status status = zoo_session_create(model_.get(), comm->nthreads, &session);
    session_.reset(session);
    threads_ = comm->nthreads;
    list_ = -1;
    agree(status == ZOO_OK, status == ZOO_OK ? "" : zoo_last_error());
}

void PairZoo::init_style() {
    check_setting();
    check_masses();
    open_session();
    neighbor->add_request(this, NeighConst::REQ_FULL);
    comm_forward = comm_reverse = zoo_model_n_layers(model_.get()) > 1 ? zoo_model_n_features(model_.get()) : 0;
    // A hybrid style looked at ours when it was made, before the model was known; Comm::init comes after this.
    force->pair->comm_forward = std::max(force->pair->comm_forward, comm_forward);
    force->pair->comm_reverse = std::max(force->pair->comm_reverse, comm_reverse);
}

void PairZoo::check_setting() {
    const auto refuse = [&](const char* text) { error->all(FLERR, std::string("pair style zoo: ") + text); };
    if (!force->newton_pair)
        refuse("newton is off for pairs, but forces on ghost atoms go to their owners; use `newton on`");
    if (!atom->tag_enable) refuse("atoms have no IDs; use `atom_modify id yes`");
    if (neighbor->nex_type || neighbor->nex_group || neighbor->nex_mol)
        refuse("`neigh_modify exclude` would hide neighbours from the model; remove it");
    for (int k = 1; k <= 3 && (atom->nbonds > 0 || atom->molecular == Atom::TEMPLATE); ++k) {
        if (force->special_lj[k] == 0 && force->special_coul[k] == 0)
            refuse("`special_bonds` hides bonded neighbours from the model; use `special_bonds lj/coul 1 1 1`");
    }
}

// Elements in the wrong order are valid but for the masses.
void PairZoo::check_masses() {
    for (int type = 1; type <= atom->ntypes && atom->mass && !atom->rmass; ++type) {
        const int own = number_of_type_[std::size_t(type)];
        const auto off = [&](int z) { return std::abs(atom->mass[type] - zoo::elements[z - 1].mass); };
        const auto other = std::find_if(number_of_type_.begin() + 1, number_of_type_.end(),
                                        [&](int z) { return z != own && off(z) < same_mass; });
        if (off(own) > same_mass && other != number_of_type_.end()) {
            error->all(FLERR, fmt::format("pair style zoo: type {} is {} in pair_coeff but has the mass of {}, {} u; "
                                          "give the elements in the order of the types",
                                          type, symbol(own), symbol(*other), atom->mass[type]));
        }
    }
}

double PairZoo::init_one(int, int) { return zoo_model_cutoff(model_.get()); }

// The local atom that each atom is an image of, or itself where its owner is another rank.
std::vector<int> PairZoo::owners() const {
    const int local = atom->nlocal, all = local + atom->nghost;
    std::vector<std::pair<tagint, int>> tags(static_cast<std::size_t>(local));
    for (int i = 0; i < local; ++i) tags[std::size_t(i)] = {atom->tag[i], i};
    std::sort(tags.begin(), tags.end());
    std::vector<int> out(static_cast<std::size_t>(all));
    for (int i = 0; i < all; ++i) {
        const auto at = std::lower_bound(tags.begin(), tags.end(), std::make_pair(atom->tag[i], 0));
        out[std::size_t(i)] = i >= local && at != tags.end() && at->first == atom->tag[i] ? at->second : i;
    }
    return out;
}

void PairZoo::build_edges() {
    if (list->iskip || list->ijskip) {
        error->all(FLERR,
                   "pair style zoo: pair_style hybrid gives some pairs of types to another style, but the "
                   "model needs all of them; use `pair_style hybrid/overlay`, which adds styles up");
    }
    n_atoms_ = atom->nlocal + (comm->nprocs > 1 ? atom->nghost : 0);
    numbers_.resize(std::size_t(n_atoms_));
    for (int i = 0; i < n_atoms_; ++i) numbers_[std::size_t(i)] = number_of_type_[std::size_t(atom->type[i])];
    const std::vector<int> owner = owners();
    const double reach = zoo_model_cutoff(model_.get()) + neighbor->skin;
    centers_.clear(), neighbors_.clear(), images_.clear();
    for (int ii = 0; ii < list->inum; ++ii) {
        const int i = list->ilist[ii];
        const double* from = atom->x[i];
        for (int jj = 0; jj < list->numneigh[i]; ++jj) {
            const int j = list->firstneigh[i][jj] & NEIGHMASK;
            const double *to = atom->x[j], x = to[0] - from[0], y = to[1] - from[1], z = to[2] - from[2];
            if (x * x + y * y + z * z > reach * reach) continue;  // of a style with a longer cutoff
            centers_.push_back(i);
            neighbors_.push_back(owner[std::size_t(j)]);
            images_.push_back(j);
        }
    }
    vectors_.resize(3 * images_.size());
    energies_.resize(std::size_t(atom->nlocal));
    forces_.resize(3 * std::size_t(n_atoms_));
}

void PairZoo::compute(int eflag, int vflag) {
    ev_init(eflag, vflag);
    const bool same_edges = neighbor->ago > 0 && list_ == neighbor->ncalls;
    if (!same_edges) build_edges();
    list_ = neighbor->ncalls;
    for (std::size_t e = 0; e < images_.size(); ++e) {
        const double *from = atom->x[centers_[e]], *to = atom->x[images_[e]];
        for (std::size_t k = 0; k < 3; ++k) vectors_[3 * e + k] = to[k] - from[k];
    }
    zoo_graph graph{};
    graph.size = sizeof graph;
    graph.n_atoms = n_atoms_;
    graph.n_local = atom->nlocal;
    graph.n_edges = int64_t(images_.size());
    graph.n_systems = 1;
    graph.numbers = numbers_.data();
    graph.centers = centers_.data();
    graph.neighbors = neighbors_.data();
    graph.vectors = vectors_.data();
    run_layers(graph, same_edges);
    add_results();
}

// Ranks without atoms take part, since the others wait for them.
void PairZoo::run_layers(const zoo_graph& graph, bool same_edges) {
    zoo_session* session = session_.get();
    const int layers = zoo_model_n_layers(model_.get());
    must(same_edges ? zoo_layers_follow(session, &graph) : zoo_layers_begin(session, &graph));
    for (int l = 0; l < layers; ++l) {
        must(zoo_layers_forward(session, l));
        if (l + 1 < layers && comm->nprocs > 1) comm->forward_comm(this);
    }
    must(zoo_layers_energy(session));
    for (int l = layers; l-- > 0;) {
        must(zoo_layers_reverse(session, l));
        if (l > 0 && comm->nprocs > 1) comm->reverse_comm(this);
    }
}

void PairZoo::add_results() {
    double energy = 0, total[9] = {};
    zoo_results results{};
    results.size = sizeof results;
    results.energy = eflag_global ? &energy : nullptr;
    results.energies = eflag_atom ? energies_.data() : nullptr;
    results.forces = forces_.data();
    results.virial = vflag_global ? total : nullptr;
    if (vflag_atom) {
        virials_.resize(9 * std::size_t(n_atoms_));
        results.atom_virials = virials_.data();
    }
    must(zoo_layers_end(session_.get(), &results));
    for (int i = 0; i < n_atoms_; ++i) {
        for (int k = 0; k < 3; ++k) atom->f[i][k] += energy_unit_ * forces_[std::size_t(3 * i + k)];
    }
    constexpr int voigt[6] = {0, 4, 8, 1, 2, 5};  // LAMMPS orders xx, yy, zz, xy, xz, yz
    eng_vdwl += energy_unit_ * energy;
    for (int k = 0; k < 6; ++k) virial[k] += energy_unit_ * total[voigt[k]];
    for (int i = 0; i < atom->nlocal && eflag_atom; ++i) eatom[i] += energy_unit_ * energies_[std::size_t(i)];
    for (int i = 0; i < n_atoms_ && vflag_atom; ++i) {
        for (int k = 0; k < 6; ++k) vatom[i][k] += energy_unit_ * virials_[9 * std::size_t(i) + std::size_t(voigt[k])];
    }
}

double PairZoo::memory_usage() {
    return double(centers_.size()) * (2 * sizeof(int64_t) + sizeof(int) + 3 * sizeof(double)) + Pair::memory_usage();
}

int PairZoo::pack_forward_comm(int n, int* atoms, double* buffer, int, int*) {
    must(zoo_pack_features(session_.get(), n, atoms, buffer));
    return n * comm_forward;
}

void PairZoo::unpack_forward_comm(int n, int first, double* buffer) {
    must(zoo_unpack_features(session_.get(), n, first, buffer));
}

int PairZoo::pack_reverse_comm(int n, int first, double* buffer) {
    must(zoo_pack_gradients(session_.get(), n, first, buffer));
    return n * comm_reverse;
}

void PairZoo::unpack_reverse_comm(int n, int* atoms, double* buffer) {
    must(zoo_unpack_gradients(session_.get(), n, atoms, buffer));
}
