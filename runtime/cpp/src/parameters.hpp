// What a model file says: hyperparameters and weights, checked, in float64, before any precision is chosen.
#pragma once

#include <string>
#include <vector>

#include "safetensors.hpp"

namespace zoo {

// Dense layers with shifted softplus, or SiLU, between them; one copy, or one for each element.
struct Network {
    struct Layer {
        int in, out;
        std::vector<double> weight;  // [copies, in, out]
        std::vector<double> bias;    // [copies, out], or empty
    };
    int copies = 1;
    std::vector<Layer> layers;
    bool silu = false;
};

// A property as a sum or mean over atoms of scale * network(x) + reference, or the latent charges of a dipole.
struct Head {
    std::string name, kind, property, unit;
    bool mean = false;
    Network network;
    double scale = 1;
    std::vector<double> reference;  // [S]
};

struct SchNetParameters {
    struct Interaction {
        Network filter, in_features, out;
    };
    int features = 0, gaussians = 0;
    std::vector<double> embedding;  // [S, F]
    std::vector<double> centers;    // [G]
    double gamma = 0;
    std::vector<Interaction> interactions;
};

struct WacsfParameters {
    int radial = 0, angular = 0, exponents = 0;  // R, K and L; K * L angular functions, width k before exponent l
    int radial_channels = 0, angular_channels = 0;
    bool crossterms = false;
    std::vector<double> radial_eta, radial_mu, angular_eta, angular_mu, lambda, zeta;
    std::vector<double> radial_weight, angular_weight;  // [S, C], [S, S, C']
    std::vector<double> mean, stddev;                   // [D]
    int features() const { return radial * radial_channels + angular * exponents * angular_channels; }
};

struct Parameters {
    std::string metadata, name, version, architecture;
    std::vector<int> species;
    double cutoff = 0, interaction_range = 0;
    SchNetParameters schnet;
    WacsfParameters wacsf;
    std::vector<Head> heads;
    bool is_schnet() const { return architecture == "schnet"; }
    int features() const { return is_schnet() ? schnet.features : wacsf.features(); }
    int energy_head() const;  // -1 if there is none
};

// `member` says which network of a committee is read; -1 where the file holds one network.
Parameters read_parameters(Safetensors& file, int member);

}  // namespace zoo
