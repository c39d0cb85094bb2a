// Transport between threads of one process, over memory: the fake. Streams have a small bounded capacity, so senders meet "no room"
// as they do on a network.
#ifndef RINGMASTER_COLLECTIVES_TRANSPORT_INPROC_TRANSPORT_H_
#define RINGMASTER_COLLECTIVES_TRANSPORT_INPROC_TRANSPORT_H_

#include <memory>
#include <vector>

#include "collectives/transport/transport.h"

namespace ringmaster {

// One end per rank. A destroyed end is closed to its peers.
std::vector<std::unique_ptr<Transport>> CreateInprocTransports(int size, size_t capacity_bytes = 64 * 1024);

}  // namespace ringmaster

#endif  // RINGMASTER_COLLECTIVES_TRANSPORT_INPROC_TRANSPORT_H_
