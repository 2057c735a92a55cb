// Energies and forces from model.pt with libtorch, beside those that golden.json of the same release records.
//
//   energies path/to/release          for example registry/zoo_registry/bundled/schnet-qm9/1.0.0
//
// model.pt is a program: run it only from a release that you trust. It takes a dictionary of tensors and returns one;
// names, shapes and units are those of the comments below. Exit code 0 where all agree, 1 where not or on an error.
#include <torch/script.h>
#include <torch/version.h>

#include <sstream>

#include "../golden.hpp"

namespace {

torch::Tensor integers(const std::vector<std::int64_t>& values) { return torch::tensor(values, torch::kInt64); }

torch::Tensor doubles(const std::vector<std::array<double, 3>>& values) {
    torch::Tensor out = torch::empty({std::int64_t(values.size()), 3}, torch::kFloat64);
    std::copy_n(values.data()->data(), values.empty() ? 0 : out.numel(), out.data_ptr<double>());
    return out;
}

c10::Dict<std::string, torch::Tensor> input(const golden::Structure& structure, const golden::Facts& facts) {
    golden::check_elements(structure, facts);
    const std::int64_t n = std::int64_t(structure.numbers.size());
    const golden::Edges edges = golden::edges(structure, facts.cutoff);
    const bool solid = structure.periodic[0] || structure.periodic[1] || structure.periodic[2];
    const std::vector<std::array<double, 3>> cell(structure.cell.begin(), structure.cell.end());
    c10::Dict<std::string, torch::Tensor> graph;
    graph.insert("numbers", integers(structure.numbers));       // [n] atomic numbers
    graph.insert("positions", doubles(structure.positions));    // [n, 3] angstrom
    graph.insert("edges", torch::stack({integers(edges.centers), integers(edges.neighbors)}));  // [2, e]
    graph.insert("shifts", doubles(edges.shifts));              // [e, 3] angstrom: r_ij = r_j + shift - r_i
    graph.insert("system", torch::zeros({n}, torch::kInt64));   // [n] which of s systems an atom belongs to, ascending
    graph.insert("cell", doubles(cell).view({1, 3, 3}) * (solid ? 1.0 : 0.0));  // [s, 3, 3] angstrom
    if (facts.triples) {                                        // [3, t] centre, edge ij, edge ik
        const golden::Triples triples = golden::triples(edges);
        graph.insert("triples",
                     torch::stack({integers(triples.centers), integers(triples.first), integers(triples.second)}));
    }
    return graph;
}

int run(const std::string& release) {
    // Beside zoo.json there are short texts for hosts without a JSON parser; an older release may lack them.
    torch::jit::ExtraFilesMap extra;
    for (const char* key : {"zoo.json", "cutoff", "species", "energy_unit", "length_unit"}) extra[key] = "";
    torch::jit::getProfilingMode() = false;  // else the first three calls of a new shape are slow
    torch::jit::Module module = torch::jit::load(release + "/model.pt", torch::kCPU, extra);
    module.eval();
    golden::Facts facts = golden::facts(extra["zoo.json"]);
    if (!extra["cutoff"].empty()) facts.cutoff = std::stod(extra["cutoff"]);
    if (!extra["species"].empty()) {
        std::istringstream words(extra["species"]);
        facts.species.assign(std::istream_iterator<std::int64_t>(words), {});
    }
    const std::string energy_unit = extra["energy_unit"].empty() ? "eV" : extra["energy_unit"];
    const std::string length_unit = extra["length_unit"].empty() ? "angstrom" : extra["length_unit"];
    if (energy_unit != "eV" || length_unit != "angstrom")
        throw std::runtime_error("the model is in " + energy_unit + " and " + length_unit + "; this program is not");

    std::printf("%s %s, libtorch %s, cutoff %g %s, elements", facts.name.c_str(), facts.version.c_str(), TORCH_VERSION,
                facts.cutoff, length_unit.c_str());
    for (const std::int64_t z : facts.species) std::printf(" %d", int(z));
    std::printf("\n");
    bool good = true;
    for (const golden::Structure& structure : golden::read(release + "/golden.json")) {
        const auto outputs = c10::impl::toTypedDict<std::string, torch::Tensor>(
            module.forward({input(structure, facts)}).toGenericDict());
        const torch::Tensor energy = outputs.at("energy");  // [s] eV; "energies" [n], "stress" [s, 3, 3] are there too
        const torch::Tensor forces = outputs.at("forces").to(torch::kFloat64).contiguous();  // [n, 3] eV/angstrom
        good = golden::report(structure, facts, energy.item<double>(), forces.data_ptr<double>()) && good;
    }
    return good ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) {
    if (argc != 2) {
        std::fprintf(stderr, "usage: %s path/to/release\n", argv[0]);
        return 1;
    }
    try {
        return run(argv[1]);
    } catch (const c10::Error& error) {
        std::fprintf(stderr, "error: %s\n", error.what_without_backtrace());
    } catch (const std::exception& error) {
        std::fprintf(stderr, "error: %s\n", error.what());
    }
    return 1;
}
