// Atom-centred symmetry functions, https://doi.org/10.1063/1.5019667 and https://doi.org/10.1063/1.3553717, with a
// network for each element.
#include <algorithm>
#include <cmath>
#include <cstdio>

#include "dense.hpp"
#include "error.hpp"
#include "network.hpp"
#include "records.hpp"
#include "symmetry.hpp"

namespace zoo {
namespace {

constexpr int row_block = 48;
constexpr double pi = 3.14159265358979323846;

template <class T>
class Wacsf final : public Engine {
  public:
    Wacsf(const Parameters& parameters, const Options& options);
    std::unique_ptr<Worker> worker() const override;

    const Kernels<T>& kernels;
    WacsfParameters functions;
    double cutoff;
    int elements;
    SumLayout layout;
    bool separable;
    std::vector<Head> heads;
    std::vector<std::vector<Layers<T>>> readouts;  // of each head and element
    int energy_head;
    Tables<T> tables;
};

template <class T>
class WacsfWorker final : public Worker {
  public:
    explicit WacsfWorker(const Wacsf<T>& model)
        : model_(model),
          columns_(std::size_t(padded(model.functions.features()))),
          row_(std::size_t(model.elements * model.layout.width())) {}
    void begin(const Part& part) override;
    void forward(int layer) override;
    void read_out(double* const* contributions, bool gradients) override;
    void reverse(int layer) override;
    void pair_gradients(Vector* gradients) override;
    // Neighbours exchange nothing.
    void get_features(int, double*) const override {}
    void set_features(int, const double*) override {}
    void get_gradients(int, double*) const override {}
    void add_gradients(int, const double*) override {}

  private:
    struct Slopes {
        Buffer<T> inside, across, outgoing, unit_inside, unit_across, unit_outgoing;
    };
    std::vector<Neighbor> neighbors_of(int atom) const;
    void index_neighbors();
    void units(const Records<T>& records, Buffer<T>& unit) const;
    void read_element(const std::vector<int>& atoms, std::size_t element, double* const* contributions, bool gradients);
    void add_gradient(const Records<T>& records, const Buffer<T>& slope, Vector* gradients) const;

    const Wacsf<T>& model_;
    const std::size_t columns_, row_;
    Part part_{};
    std::vector<Block<T>> blocks_;
    std::vector<Slopes> slopes_;
    Buffer<T> sums_, functions_;  // [n, S, width], then their gradients; [n, D], then theirs
    // Directed edges by centre, where all pairs of neighbours are needed.
    std::vector<std::size_t> start_, edge_pair_;
    std::vector<char> edge_turned_;
    std::vector<double> edge_gradients_;
};

template <class T>
Wacsf<T>::Wacsf(const Parameters& parameters, const Options& options)
    : kernels(*zoo::kernels<T>(options.instruction_set)),
      functions(parameters.wacsf),
      cutoff(parameters.cutoff),
      elements(int(parameters.species.size())),
      layout{padded(functions.angular), padded(functions.radial)},
      separable(angular_is_separable(functions)),
      heads(parameters.heads),
      energy_head(parameters.energy_head()) {
    if (options.exact) bad_argument("exact filters are for SchNet; this model has symmetry functions");
    for (const Head& head : heads) {
        auto& of_elements = readouts.emplace_back();
        for (int s = 0; s < elements; ++s)
            of_elements.push_back(make_layers<T>(head.network, head.network.copies > 1 ? s : 0, kernels));
    }
    // One row: the angular functions, padded, then the radial ones, padded; all times the cutoff function.
    const Functions basis = [p = functions, wide = layout, rc = cutoff](int n, const double* d, double* values,
                                                                        double* slopes) {
        const int columns = wide.angular + wide.radial;
        std::fill_n(values, n * columns, 0.0);
        std::fill_n(slopes, n * columns, 0.0);
        const auto put = [&](int at, double distance, double eta, double mu) {
            const double f = 0.5 * (std::cos(pi * distance / rc) + 1),
                         df = -0.5 * pi / rc * std::sin(pi * distance / rc);
            const double x = distance - mu, g = std::exp(-eta * x * x);
            values[at] = g * f;
            slopes[at] = g * (df - 2 * eta * x * f);
        };
        for (int i = 0; i < n; ++i) {
            for (int k = 0; k < p.angular; ++k)
                put(i * columns + k, d[i], p.angular_eta[std::size_t(k)], p.angular_mu[std::size_t(k)]);
            for (int r = 0; r < p.radial; ++r)
                put(i * columns + wide.angular + r, d[i], p.radial_eta[std::size_t(r)], p.radial_mu[std::size_t(r)]);
        }
    };
    // Functions are divided by their standard deviations, which may be small: the table is small, so be more exact.
    tables = tabulate<T>({basis}, layout.angular + layout.radial, cutoff, 0.01 * options.tolerance);
    intervals = tables.intervals;
    value_error = tables.error.value;
    slope_error = tables.error.slope;
    char text[160];
    std::snprintf(text, sizeof text,
                  "%d symmetry functions, %s, %s, from %d intervals of quintic splines (largest error of a slope %.1e "
                  "of the largest slope)",
                  functions.features(), sizeof(T) == 4 ? "float32" : "float64", kernels.name, intervals, slope_error);
    description = text;
}

template <class T>
std::unique_ptr<Worker> Wacsf<T>::worker() const {
    return std::make_unique<WacsfWorker<T>>(*this);
}

template <class T>
void WacsfWorker<T>::begin(const Part& part) {
    part_ = part;
    reserve_rows(sums_, std::size_t(part.n_atoms) * row_);
    reserve_rows(functions_, std::size_t(part.n_atoms) * columns_);
    make_blocks(part, model_.cutoff, part.pool ? part.pool->size() : 1, blocks_);
    slopes_.resize(blocks_.size());
    for_blocks(part, blocks_, [&](Block<T>& block, int t) {
        Slopes& s = slopes_[std::size_t(t)];
        for (auto [records, unit] : {std::pair(&block.inside, &s.unit_inside), std::pair(&block.across, &s.unit_across),
                                     std::pair(&block.outgoing, &s.unit_outgoing)}) {
            records->place(model_.tables, part.list->distances.data() + part.first_pair);
            records->split_by_element(part.elements, model_.elements);
            units(*records, *unit);
        }
    });
    if (!model_.separable) index_neighbors();
}

// Unit vectors from a to b of each record.
template <class T>
void WacsfWorker<T>::units(const Records<T>& records, Buffer<T>& unit) const {
    reserve_rows(unit, 3 * records.size());
    for (std::size_t r = 0; r < records.size(); ++r) {
        const std::size_t p = part_.first_pair + records.pair(r);
        const bool turned = records.a(r) != part_.list->pairs[p].a - part_.first_atom;
        const double inverse = (turned ? -1 : 1) / part_.list->distances[p];
        const Vector& v = part_.list->vectors[p];
        unit[3 * r] = T(v.x * inverse);
        unit[3 * r + 1] = T(v.y * inverse);
        unit[3 * r + 2] = T(v.z * inverse);
    }
}

template <class T>
void WacsfWorker<T>::index_neighbors() {
    const Pair* pairs = part_.list->pairs.data() + part_.first_pair;
    const double* distances = part_.list->distances.data() + part_.first_pair;
    start_.assign(std::size_t(part_.n_atoms) + 1, 0);
    const auto each = [&](const auto& f) {
        for (std::size_t p = 0; p < part_.n_pairs; ++p) {
            if (!(distances[p] < model_.cutoff)) continue;
            f(std::size_t(pairs[p].a - part_.first_atom), p, false);
            if (pairs[p].both) f(std::size_t(pairs[p].b - part_.first_atom), p, true);
        }
    };
    each([&](std::size_t atom, std::size_t, bool) { ++start_[atom + 1]; });
    for (std::size_t i = 1; i < start_.size(); ++i) start_[i] += start_[i - 1];
    edge_pair_.resize(start_.back());
    edge_turned_.resize(start_.back());
    edge_gradients_.assign(3 * start_.back(), 0.0);
    std::vector<std::size_t> next(start_.begin(), start_.end() - 1);
    each([&](std::size_t atom, std::size_t p, bool turned) {
        edge_pair_[next[atom]] = p;
        edge_turned_[next[atom]++] = turned;
    });
}

template <class T>
std::vector<Neighbor> WacsfWorker<T>::neighbors_of(int atom) const {
    std::vector<Neighbor> out;
    for (std::size_t e = start_[std::size_t(atom)]; e < start_[std::size_t(atom) + 1]; ++e) {
        const std::size_t p = part_.first_pair + edge_pair_[e];
        const Pair& pair = part_.list->pairs[p];
        const double sign = edge_turned_[e] ? -1 : 1;
        const Vector& v = part_.list->vectors[p];
        const int other = (edge_turned_[e] ? pair.a : pair.b) - part_.first_atom;
        out.push_back({{sign * v.x, sign * v.y, sign * v.z}, part_.list->distances[p], part_.elements[other], e});
    }
    return out;
}

template <class T>
void WacsfWorker<T>::forward(int) {
    const WacsfParameters& p = model_.functions;
    const std::size_t first_angular = std::size_t(p.radial * p.radial_channels);
    for_blocks(part_, blocks_, [&](Block<T>& block, int t) {
        std::fill(sums_.data() + std::size_t(block.from) * row_, sums_.data() + std::size_t(block.to) * row_, T(0));
        const Slopes& s = slopes_[std::size_t(t)];
        const T* table = model_.tables.layers[0].data();
        const auto describe = [&](const Records<T>& records, const Buffer<T>& unit, bool both) {
            model_.kernels.describe(records.pairs(), table, model_.layout.angular, model_.layout.radial, unit.data(),
                                    sums_.data(), both);
        };
        describe(block.inside, s.unit_inside, true);
        describe(block.across, s.unit_across, false);
        describe(block.outgoing, s.unit_outgoing, false);
        std::vector<double> angular(std::size_t(p.features()) - first_angular);
        for (int i = block.from; i < std::min(block.to, part_.n_local); ++i) {
            T* row = functions_.data() + std::size_t(i) * columns_;
            symmetry_functions(p, model_.layout, model_.elements, sums_.data() + std::size_t(i) * row_, row);
            if (!model_.separable) {
                std::fill(angular.begin(), angular.end(), 0.0);
                angular_functions({p, model_.cutoff}, neighbors_of(i), angular.data());
                std::copy(angular.begin(), angular.end(), row + first_angular);
            }
            for (int c = 0; c < p.features(); ++c)
                row[c] = (row[c] - T(p.mean[std::size_t(c)])) / T(p.stddev[std::size_t(c)]);
            std::fill(row + p.features(), row + columns_, T(0));
        }
    });
}

template <class T>
void WacsfWorker<T>::read_out(double* const* contributions, bool gradients) {
    for_blocks(part_, blocks_, [&](Block<T>& block, int) {
        std::vector<std::vector<int>> atoms(static_cast<std::size_t>(model_.elements));
        for (int i = block.from; i < std::min(block.to, part_.n_local); ++i)
            atoms[std::size_t(part_.elements[i])].push_back(i);
        for (std::size_t s = 0; s < atoms.size(); ++s) read_element(atoms[s], s, contributions, gradients);
    });
}

template <class T>
void WacsfWorker<T>::read_element(const std::vector<int>& atoms, std::size_t element, double* const* contributions,
                                  bool gradients) {
    Buffer<T> x(row_block * columns_), dx(row_block * columns_);
    Readout<T> readout;
    T value[row_block];
    for (std::size_t from = 0; from < atoms.size(); from += row_block) {
        const int n = int(std::min<std::size_t>(row_block, atoms.size() - from));
        for (int i = 0; i < n; ++i) {
            std::copy_n(functions_.data() + std::size_t(atoms[from + std::size_t(i)]) * columns_, columns_,
                        x.data() + std::size_t(i) * columns_);
        }
        for (std::size_t h = 0; h < model_.heads.size(); ++h) {
            const Head& head = model_.heads[h];
            const bool wanted = gradients && int(h) == model_.energy_head;
            readout(model_.kernels, model_.readouts[h][element], n, x.data(), value, wanted ? dx.data() : nullptr);
            for (int i = 0; i < n; ++i) {
                contributions[h][atoms[from + std::size_t(i)]] =
                    head.scale * double(value[i]) + head.reference[element];
            }
        }
        if (!gradients) continue;
        for (int i = 0; i < n; ++i) {
            T* row = functions_.data() + std::size_t(atoms[from + std::size_t(i)]) * columns_;
            for (int c = 0; c < model_.functions.features(); ++c) {
                row[c] = dx[std::size_t(i) * columns_ + std::size_t(c)] / T(model_.functions.stddev[std::size_t(c)]);
            }
        }
    }
}

template <class T>
void WacsfWorker<T>::reverse(int) {
    const WacsfParameters& p = model_.functions;
    const std::size_t first_angular = std::size_t(p.radial * p.radial_channels);
    for_blocks(part_, blocks_, [&](Block<T>& block, int t) {
        for (int i = block.from; i < std::min(block.to, part_.n_local); ++i) {
            const T* row = functions_.data() + std::size_t(i) * columns_;
            symmetry_functions_reverse(p, model_.layout, model_.elements, row, sums_.data() + std::size_t(i) * row_);
            if (model_.separable) continue;
            const std::vector<double> angular(row + first_angular, row + p.features());
            angular_functions_reverse({p, model_.cutoff}, neighbors_of(i), angular.data(),
                                      edge_gradients_.data() + 3 * start_[std::size_t(i)]);
        }
        Slopes& s = slopes_[std::size_t(t)];
        const T* table = model_.tables.layers[0].data();
        const auto describe = [&](const Records<T>& records, const Buffer<T>& unit, Buffer<T>& slope, bool both) {
            reserve_rows(slope, 4 * records.size());
            model_.kernels.describe_reverse(records.pairs(), table, model_.layout.angular, model_.layout.radial,
                                            unit.data(), sums_.data(), slope.data(), both);
        };
        describe(block.inside, s.unit_inside, s.inside, true);
        describe(block.across, s.unit_across, s.across, false);
        describe(block.outgoing, s.unit_outgoing, s.outgoing, false);
    });
}

template <class T>
void WacsfWorker<T>::add_gradient(const Records<T>& records, const Buffer<T>& slope, Vector* gradients) const {
    const double scale = model_.heads[std::size_t(model_.energy_head)].scale;
    for (std::size_t r = 0; r < records.size(); ++r) {
        const std::size_t pair = records.pair(r), p = part_.first_pair + pair;
        const double d = part_.list->distances[p],
                     sign = records.a(r) != part_.list->pairs[p].a - part_.first_atom ? -1 : 1;
        const Vector& v = part_.list->vectors[p];
        const double u[3] = {v.x / d, v.y / d, v.z / d}, along = double(slope[4 * r]);
        const double turn[3] = {sign * double(slope[4 * r + 1]), sign * double(slope[4 * r + 2]),
                                sign * double(slope[4 * r + 3])};
        const double parallel = along - (turn[0] * u[0] + turn[1] * u[1] + turn[2] * u[2]) / d;
        gradients[pair].x += scale * (parallel * u[0] + turn[0] / d);
        gradients[pair].y += scale * (parallel * u[1] + turn[1] / d);
        gradients[pair].z += scale * (parallel * u[2] + turn[2] / d);
    }
}

template <class T>
void WacsfWorker<T>::pair_gradients(Vector* gradients) {
    for (std::size_t t = 0; t < blocks_.size(); ++t) {
        add_gradient(blocks_[t].inside, slopes_[t].inside, gradients);
        add_gradient(blocks_[t].across, slopes_[t].across, gradients);
        add_gradient(blocks_[t].outgoing, slopes_[t].outgoing, gradients);
    }
    if (model_.separable) return;
    const double scale = model_.heads[std::size_t(model_.energy_head)].scale;
    for (std::size_t e = 0; e < edge_pair_.size(); ++e) {
        Vector& g = gradients[edge_pair_[e]];
        const double s = edge_turned_[e] ? -scale : scale;
        g = {g.x + s * edge_gradients_[3 * e], g.y + s * edge_gradients_[3 * e + 1],
             g.z + s * edge_gradients_[3 * e + 2]};
    }
}

}  // namespace

template <class T>
std::unique_ptr<Engine> make_wacsf(const Parameters& parameters, const Options& options) {
    return std::make_unique<Wacsf<T>>(parameters, options);
}

template std::unique_ptr<Engine> make_wacsf<float>(const Parameters&, const Options&);
template std::unique_ptr<Engine> make_wacsf<double>(const Parameters&, const Options&);

}  // namespace zoo
