#include "parameters.hpp"

#include "error.hpp"
#include "json.hpp"

namespace zoo {
namespace {

constexpr int newest_schema = 1;

long long setting(const json::Value& from, const char* name, long long missing, long long high) {
    const json::Value* value = from.find(name);
    return value ? value->integer(name, 1, high) : missing;
}

bool flag(const json::Value& from, const char* name, bool missing) {
    const json::Value* value = from.find(name);
    return value ? value->boolean(name) : missing;
}

std::vector<double> transposed(const std::vector<double>& matrix, int rows, int columns) {
    std::vector<double> out(matrix.size());
    for (int r = 0; r < rows; ++r) {
        for (int c = 0; c < columns; ++c) out[std::size_t(c) * rows + r] = matrix[std::size_t(r) * columns + c];
    }
    return out;
}

Network shared_network(const Safetensors& file, const std::string& prefix, const std::vector<int>& widths) {
    Network network;
    for (std::size_t k = 0; k + 1 < widths.size(); ++k) {
        const int in = widths[k], out = widths[k + 1];
        const std::string name = prefix + "." + std::to_string(2 * k);
        network.layers.push_back(
            {in, out, transposed(file.read(name + ".weight", {out, in}), out, in), file.read(name + ".bias", {out})});
    }
    return network;
}

Network elemental_network(const Safetensors& file, const std::string& prefix, const std::vector<int>& widths,
                          int copies) {
    Network network;
    network.copies = copies;
    for (std::size_t k = 0; k + 1 < widths.size(); ++k) {
        const int in = widths[k], out = widths[k + 1];
        const std::string name = prefix + "." + std::to_string(2 * k);
        network.layers.push_back(
            {in, out, file.read(name + ".weight", {copies, in, out}), file.read(name + ".bias", {copies, out})});
    }
    return network;
}

SchNetParameters read_schnet(const Safetensors& file, const json::Value& settings, int elements) {
    SchNetParameters out;
    out.features = int(setting(settings, "features", 128, 4096));
    out.gaussians = int(setting(settings, "gaussians", 50, 4096));
    const int interactions = int(setting(settings, "interactions", 6, 64)), f = out.features;
    out.embedding = file.read("representation.embedding.weight", {elements, f});
    out.centers = file.read("representation.centers", {out.gaussians});
    out.gamma = file.read("representation.gamma", {})[0];
    if (out.gamma <= 0) bad_file(file.source() + ": representation.gamma must be positive");
    for (int l = 0; l < interactions; ++l) {
        const std::string prefix = "representation.interactions." + std::to_string(l);
        Network in;
        in.layers.push_back({f, f, transposed(file.read(prefix + ".in_features.weight", {f, f}), f, f), {}});
        out.interactions.push_back({shared_network(file, prefix + ".filter_network", {out.gaussians, f, f}), in,
                                    shared_network(file, prefix + ".out_network", {f, f, f})});
    }
    return out;
}

WacsfParameters read_wacsf(const Safetensors& file, const json::Value& settings, int elements) {
    WacsfParameters out;
    out.radial = int(setting(settings, "radial", 22, 1024));
    out.angular = int(setting(settings, "angular", 5, 256));
    const json::Value* zetas = settings.find("zetas");
    const std::size_t n_zetas = zetas ? zetas->array("zetas").size() : 1;
    if (n_zetas < 1 || n_zetas > 16) bad_file("zetas must hold 1 to 16 exponents");
    out.exponents = int(2 * n_zetas);
    out.crossterms = flag(settings, "crossterms", false);
    const bool weighted = flag(settings, "weighted", true);
    out.radial_channels = weighted ? 1 : elements;
    out.angular_channels = weighted ? 1 : elements * (elements + 1) / 2;
    if (out.features() > 1 << 16) bad_file("more than 65536 symmetry functions are not supported");
    const std::string at = "representation.";
    out.radial_eta = file.read(at + "radial_eta", {out.radial});
    out.radial_mu = file.read(at + "radial_mu", {out.radial});
    out.angular_eta = file.read(at + "angular_eta", {out.angular});
    out.angular_mu = file.read(at + "angular_mu", {out.angular});
    out.lambda = file.read(at + "angular_lambda", {out.exponents});
    out.zeta = file.read(at + "angular_zeta", {out.exponents});
    out.radial_weight = file.read(at + "radial_weight", {elements, out.radial_channels});
    out.angular_weight = file.read(at + "angular_weight", {elements, elements, out.angular_channels});
    out.mean = file.read(at + "mean", {out.features()});
    out.stddev = file.read(at + "stddev", {out.features()});
    for (const double value : out.stddev) {
        if (value <= 0) bad_file(file.source() + ": representation.stddev must be positive");
    }
    return out;
}

Head read_head(const Safetensors& file, const std::string& name, const json::Value& settings, int features,
               int elements) {
    Head head;
    head.name = name;
    head.kind = settings.at("kind", "a head").string("kind");
    const bool elemental = head.kind.rfind("elemental_", 0) == 0;
    const std::string bare = elemental ? head.kind.substr(10) : head.kind;
    if (bare != "atomwise" && bare != "dipole_moment" && bare != "electronic_spatial_extent") {
        bad_file("head " + name + " is of kind " + head.kind + "; this engine knows atomwise, dipole_moment, " +
                 "electronic_spatial_extent and each with elemental_ before it");
    }
    std::vector<int> widths{features};
    if (const json::Value* hidden = settings.find("hidden");
        hidden && !hidden->is_null() && !hidden->array("hidden").empty()) {
        for (const auto& width : hidden->array("hidden")) widths.push_back(int(width.integer("hidden", 1, 4096)));
    } else {
        widths.push_back(std::max(features / 2, 1));
    }
    if (widths.size() > 16) bad_file("head " + name + " has more than 15 hidden layers");
    widths.push_back(1);
    const std::string prefix = "heads." + name;
    head.network = elemental ? elemental_network(file, prefix + ".network", widths, elements)
                             : shared_network(file, prefix + ".network", widths);
    const json::Value* activation = settings.find("activation");
    const std::string between = activation ? activation->string("activation") : "ssp";
    if (between != "ssp" && (between != "silu" || elemental)) {
        bad_file("head " + name + " has the activation " + between + "; this engine knows ssp, and silu in a network " +
                 "that the elements share");
    }
    head.network.silu = between == "silu";
    head.reference.assign(std::size_t(elements), 0.0);
    if (bare == "dipole_moment") {
        head.property = "charges";
        head.unit = "e";
        return head;
    }
    if (bare == "electronic_spatial_extent") {
        head.property = "spatial_extent_weights";
        head.unit = "1";
        return head;
    }
    const json::Value* property = settings.find("property");
    const json::Value* unit = settings.find("unit");
    const json::Value* aggregation = settings.find("aggregation");
    head.property = property ? property->string("property") : "energy";
    head.unit = unit && !unit->is_null() ? unit->string("unit") : "eV";
    head.mean = aggregation && aggregation->string("aggregation") == "mean";
    head.scale = file.read(prefix + ".scale", {})[0];
    head.reference = file.read(prefix + ".reference", {elements});
    if (head.property == "energy" && head.mean) bad_file("head " + name + ": an energy must be a sum over atoms");
    return head;
}

void choose_member(Safetensors& file, const json::Value& hyper, int member) {
    const json::Value* committee = hyper.find("committee");
    if (!committee) {
        if (member != -1) bad_argument(file.source() + " holds one network, so member must be left at -1");
        return;
    }
    const int members = int(committee->integer("committee", 2, 1000));
    if (member < 0 || member >= members) {
        bad_argument(file.source() + " holds a committee of " + std::to_string(members) +
                     " networks; set member (zoo_options) to one of 0 to " + std::to_string(members - 1));
    }
    file.set_prefix("members." + std::to_string(member) + ".");
}

}  // namespace

int Parameters::energy_head() const {
    for (std::size_t h = 0; h < heads.size(); ++h) {
        if (heads[h].property == "energy") return int(h);
    }
    return -1;
}

Parameters read_parameters(Safetensors& file, int member) {
    Parameters out;
    out.metadata = file.metadata("zoo.json");
    const json::Value document = json::parse(out.metadata, "zoo.json");
    const long long schema = document.at("schema", "zoo.json").integer("schema", 1, 1000000);
    if (schema > newest_schema) {
        bad_file("zoo.json has schema " + std::to_string(schema) + ", this library reads up to " +
                 std::to_string(newest_schema) + "; install a newer version of it");
    }
    out.name = document.at("name", "zoo.json").string("name");
    out.version = document.at("version", "zoo.json").string("version");
    const json::Value& hyper = document.at("hyperparameters", "zoo.json");
    choose_member(file, hyper, member);
    const json::Value& settings = hyper.at("representation", "hyperparameters");
    out.architecture = settings.at("kind", "representation").string("representation.kind");
    if (out.architecture != "schnet" && out.architecture != "wacsf") {
        bad_file("representation.kind is " + out.architecture + "; this engine knows schnet and wacsf");
    }
    for (const auto& z : settings.at("species", "representation").array("species")) {
        out.species.push_back(int(z.integer("species", 1, 118)));
        if (out.species.size() > 1 && out.species.rbegin()[1] >= out.species.back()) bad_file("species must ascend");
    }
    if (out.species.empty()) bad_file("species is empty");
    const int elements = int(out.species.size());
    const std::vector<double> stored = file.read("species", {elements});
    if (!std::equal(stored.begin(), stored.end(), out.species.begin())) {
        bad_file(file.source() + ": the tensor species differs from the hyperparameters");
    }
    const json::Value* cutoff = settings.find("cutoff");
    out.cutoff = cutoff ? cutoff->number("cutoff") : 5.0;
    if (!(out.cutoff > 0.1 && out.cutoff <= 100)) bad_file("cutoff must be from 0.1 to 100 angstrom");
    if (out.is_schnet()) out.schnet = read_schnet(file, settings, elements);
    else out.wacsf = read_wacsf(file, settings, elements);
    out.interaction_range = out.cutoff * double(out.is_schnet() ? out.schnet.interactions.size() : 1);
    for (const auto& [name, head] : hyper.at("heads", "hyperparameters").object("heads")) {
        out.heads.push_back(read_head(file, name, head, out.features(), elements));
    }
    if (out.heads.empty() || out.heads.size() > 64) bad_file("a model must have 1 to 64 heads");
    return out;
}

}  // namespace zoo
