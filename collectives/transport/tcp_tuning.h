// What a TCP stream between two ranks is set to once it is connected.
#ifndef RINGMASTER_COLLECTIVES_TRANSPORT_TCP_TUNING_H_
#define RINGMASTER_COLLECTIVES_TRANSPORT_TCP_TUNING_H_

namespace ringmaster {

// Sends without delay; between near hosts, and within one, with a congestion control that shares a link evenly. What the system
// does not allow stays as it is.
void TuneTcpStream(int socket);

}  // namespace ringmaster

#endif  // RINGMASTER_COLLECTIVES_TRANSPORT_TCP_TUNING_H_
