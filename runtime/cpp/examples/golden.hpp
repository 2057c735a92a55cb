// What a host has of its own, here for the structures of a release's golden.json: atoms, edges, and something to
// compare with. JSON is read by libzoo's reader, edges are made by vesin, which every installation of atomzoo brings.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <fstream>
#include <iterator>
#include <stdexcept>
#include <string>
#include <vector>

#include "json.hpp"
#include "vesin.h"

namespace golden {

struct Structure {
    std::string name;
    std::vector<std::int64_t> numbers;             // [n] atomic numbers
    std::vector<std::array<double, 3>> positions;  // [n, 3] angstrom
    std::array<std::array<double, 3>, 3> cell{};   // angstrom, lattice vectors as rows; zeros where nothing is periodic
    std::array<bool, 3> periodic{};
    double energy = 0;                             // eV, as recorded
    std::vector<std::array<double, 3>> forces;     // [n, 3] eV/angstrom, as recorded
};

// The directed edges of a structure: both i -> j and j -> i, sorted by centre, and every image within the cutoff.
struct Edges {
    std::vector<std::int64_t> centers, neighbors;
    std::vector<std::array<double, 3>> shifts;  // angstrom: r_ij = r_j + shift - r_i

    std::int64_t size() const { return std::int64_t(centers.size()); }
};

// Pairs of edges of one centre, each once: what angular functions sum over. Only models with neighbors.triples ask.
struct Triples {
    std::vector<std::int64_t> centers, first, second;
};

// What a program must know of a model: zoo.json, which is inside of every file of a release.
struct Facts {
    std::string name, version;
    double cutoff;                     // angstrom
    std::vector<std::int64_t> species; // atomic numbers
    bool triples;
    double energy_tolerance;           // eV/atom by which golden.json may be missed
    double force_tolerance;            // eV/angstrom
};

inline Facts facts(const std::string& zoo_json) {
    const zoo::json::Value document = zoo::json::parse(zoo_json, "zoo.json");
    const auto at = [&](const char* key) -> const zoo::json::Value& { return document.at(key, "zoo.json"); };
    Facts out{};
    out.name = at("name").string("name");
    out.version = at("version").string("version");
    out.cutoff = at("cutoff").number("cutoff");
    for (const auto& z : at("species").array("species")) out.species.push_back(z.integer("species", 1, 118));
    out.triples = at("neighbors").at("triples", "neighbors").boolean("triples");
    out.energy_tolerance = at("tolerance").at("energy", "tolerance").number("energy");
    out.force_tolerance = at("tolerance").at("forces", "tolerance").number("forces");
    return out;
}

inline std::vector<std::array<double, 3>> rows(const zoo::json::Value& matrix, const char* name) {
    std::vector<std::array<double, 3>> out;
    for (const auto& row : matrix.array(name)) {
        const auto& values = row.array(name);
        if (values.size() != 3) throw std::runtime_error(std::string(name) + " of golden.json must have rows of three");
        out.push_back({values[0].number(name), values[1].number(name), values[2].number(name)});
    }
    return out;
}

inline std::vector<Structure> read(const std::string& path) {
    std::ifstream stream(path, std::ios::binary);
    if (!stream) throw std::runtime_error(path + " cannot be read; give the folder of a release");
    const std::string text{std::istreambuf_iterator<char>(stream), {}};
    const zoo::json::Value document = zoo::json::parse(text, path.c_str());
    std::vector<Structure> out;
    for (const auto& entry : document.at("structures", "golden.json").array("structures")) {
        Structure structure;
        structure.name = entry.at("name", "a structure").string("name");
        for (const auto& z : entry.at("numbers", "a structure").array("numbers"))
            structure.numbers.push_back(z.integer("numbers", 1, 118));
        structure.positions = rows(entry.at("positions", "a structure"), "positions");
        structure.forces = rows(entry.at("forces", "a structure"), "forces");
        structure.energy = entry.at("energy", "a structure").number("energy");
        const auto cell = rows(entry.at("cell", "a structure"), "cell");
        const auto& periodic = entry.at("pbc", "a structure").array("pbc");
        const std::size_t n = structure.numbers.size();
        if (structure.positions.size() != n || structure.forces.size() != n || cell.size() != 3 || periodic.size() != 3)
            throw std::runtime_error("sizes in " + path + " do not match");
        std::copy(cell.begin(), cell.end(), structure.cell.begin());
        for (std::size_t k = 0; k < 3; ++k) structure.periodic[k] = periodic[k].boolean("pbc");
        out.push_back(structure);
    }
    return out;
}

// The file of a model checks nothing: an element that it was not trained on is for the host to refuse.
inline void check_elements(const Structure& structure, const Facts& facts) {
    for (const std::int64_t z : structure.numbers)
        if (std::find(facts.species.begin(), facts.species.end(), z) == facts.species.end())
            throw std::runtime_error(facts.name + " does not know the element with Z = " + std::to_string(z) + " in " +
                                     structure.name);
}

inline Edges edges(const Structure& structure, double cutoff) {
    VesinOptions options{};
    options.cutoff = cutoff;
    options.full = options.sorted = options.return_shifts = true;
    VesinNeighborList list;
    const char* error = nullptr;
    if (vesin_neighbors(reinterpret_cast<const double(*)[3]>(structure.positions.data()), structure.positions.size(),
                        reinterpret_cast<const double(*)[3]>(structure.cell.data()), structure.periodic.data(),
                        {VesinCPU, 0}, options, &list, &error))
        throw std::runtime_error(std::string("vesin: ") + error);
    Edges out;
    for (std::size_t e = 0; e < list.length; ++e) {
        out.centers.push_back(std::int64_t(list.pairs[e][0]));
        out.neighbors.push_back(std::int64_t(list.pairs[e][1]));
        std::array<double, 3> shift{};
        for (std::size_t k = 0; k < 3; ++k)
            for (std::size_t c = 0; c < 3; ++c) shift[c] += list.shifts[e][k] * structure.cell[k][c];
        out.shifts.push_back(shift);
    }
    vesin_free(&list);
    return out;
}

inline Triples triples(const Edges& edges) {
    Triples out;
    for (std::int64_t a = 0; a < edges.size(); ++a)
        for (std::int64_t b = a + 1; b < edges.size() && edges.centers[b] == edges.centers[a]; ++b) {
            out.centers.push_back(edges.centers[a]);
            out.first.push_back(a);
            out.second.push_back(b);
        }
    return out;
}

// Print energy and forces beside the recorded ones; returns whether they agree as the release promises.
inline bool report(const Structure& structure, const Facts& facts, double energy, const double* forces) {
    const std::size_t n = structure.numbers.size();
    std::printf("%s, %zu atoms\n  energy %18.6f eV  recorded %18.6f eV\n", structure.name.c_str(), n, energy,
                structure.energy);
    const double energy_error = std::abs(energy - structure.energy) / double(n);
    double force_error = 0;
    for (std::size_t i = 0; i < n; ++i) {
        const double* f = forces + 3 * i;
        const std::array<double, 3>& g = structure.forces[i];
        std::printf("  force on atom %2zu (Z = %2d)", i, int(structure.numbers[i]));
        std::printf(" % 10.5f % 10.5f % 10.5f eV/A  recorded", f[0], f[1], f[2]);
        std::printf(" % 10.5f % 10.5f % 10.5f eV/A\n", g[0], g[1], g[2]);
        // Not std::max, which would lose a NaN.
        for (std::size_t c = 0; c < 3; ++c)
            if (!(std::abs(f[c] - g[c]) <= force_error)) force_error = std::abs(f[c] - g[c]);
    }
    const bool good = energy_error <= facts.energy_tolerance && force_error <= facts.force_tolerance;
    std::printf("  largest difference %.1e eV/atom (%.0e is promised), %.1e eV/A (%.0e): %s\n", energy_error,
                facts.energy_tolerance, force_error, facts.force_tolerance, good ? "good" : "WRONG");
    return good;
}

}  // namespace golden
