// The libraries that a benchmark is held against, each at its best: how to start the programs of tests/bench/peers.
#ifndef RINGMASTER_CLI_BENCH_PEERS_H_
#define RINGMASTER_CLI_BENCH_PEERS_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "cli/bench/bench_options.h"
#include "cli/bench/bench_row.h"
#include "cli/bench/programs.h"

namespace ringmaster::cli {

struct Peer {
  std::string name;  // "openmpi", "openmpi_tuned", ..
  Program program;   // prints {"bytes": .., "time_us_p50": .., "errors": ..} for each size; or {"rows": [..]} of these
};

// What a peer has printed. Of a peer that is this program, the rows in place.
std::vector<BenchRow> PeerRows(const std::vector<std::string>& lines);

// One round of it. Errors: those of RunPrograms.
absl::StatusOr<std::vector<BenchRow>> RunPeer(const Peer& peer, absl::Duration limit, const Clock& clock);

// `self`: this executable, for "fastest": ourselves with --order fastest, which tells what the canonical order costs.
// INVALID_ARGUMENT: an unknown peer, or an operation that is not the one they measure (all_reduce of f32 sums). NOT_FOUND: its
// program is not there; the message says how to build it and which Debian package it needs.
absl::StatusOr<std::vector<Peer>> MakePeers(const BenchOptions& options, const std::string& self);

}  // namespace ringmaster::cli

#endif  // RINGMASTER_CLI_BENCH_PEERS_H_
