#include "collectives/nccl/peer_access.h"

#include <cuda_runtime_api.h>

#include <algorithm>
#include <cctype>

#include "absl/cleanup/cleanup.h"
#include "collectives/nccl/cuda_error.h"
#include "common/status_macros.h"

namespace ringmaster {
namespace {

constexpr int kCopies = 8;  // behind a first one, which sets up the way

absl::StatusOr<std::string> AddressOf(int device) {
  char name[32] = {};
  RM_RETURN_IF_ERROR(CudaStatus(cudaDeviceGetPCIBusId(name, sizeof(name), device), "cudaDeviceGetPCIBusId"));
  std::string address(name);
  for (char& letter : address) letter = static_cast<char>(std::tolower(static_cast<unsigned char>(letter)));
  return address;
}

absl::Status Reach(int from, int to, bool* can_access) {
  int is_possible = 0;
  RM_RETURN_IF_ERROR(CudaStatus(cudaDeviceCanAccessPeer(&is_possible, from, to), "cudaDeviceCanAccessPeer"));
  *can_access = is_possible != 0;
  if (!*can_access) return absl::OkStatus();
  const cudaError_t code = cudaDeviceEnablePeerAccess(to, 0);
  if (code != cudaErrorPeerAccessAlreadyEnabled) return CudaStatus(code, "cudaDeviceEnablePeerAccess");
  cudaGetLastError();  // it stays until it is read
  return absl::OkStatus();
}

absl::StatusOr<double> TimeCopies(void* to_memory, int to, const void* from_memory, int from) {
  cudaStream_t stream = nullptr;
  cudaEvent_t begin = nullptr, end = nullptr;
  const absl::Cleanup destroy = [&] {
    if (begin != nullptr) cudaEventDestroy(begin);
    if (end != nullptr) cudaEventDestroy(end);
    if (stream != nullptr) cudaStreamDestroy(stream);
  };
  RM_RETURN_IF_ERROR(CudaStatus(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "cudaStreamCreate"));
  RM_RETURN_IF_ERROR(CudaStatus(cudaEventCreate(&begin), "cudaEventCreate"));
  RM_RETURN_IF_ERROR(CudaStatus(cudaEventCreate(&end), "cudaEventCreate"));
  for (int copy = 0; copy <= kCopies; ++copy) {
    if (copy == 1) RM_RETURN_IF_ERROR(CudaStatus(cudaEventRecord(begin, stream), "cudaEventRecord"));
    RM_RETURN_IF_ERROR(CudaStatus(cudaMemcpyPeerAsync(to_memory, to, from_memory, from, kPeerCopyBytes, stream), "cudaMemcpyPeer"));
  }
  RM_RETURN_IF_ERROR(CudaStatus(cudaEventRecord(end, stream), "cudaEventRecord"));
  RM_RETURN_IF_ERROR(CudaStatus(cudaEventSynchronize(end), "cudaEventSynchronize"));
  float milliseconds = 0;
  RM_RETURN_IF_ERROR(CudaStatus(cudaEventElapsedTime(&milliseconds, begin, end), "cudaEventElapsedTime"));
  return kCopies * static_cast<double>(kPeerCopyBytes) * 1e-6 / static_cast<double>(milliseconds);
}

}  // namespace

absl::StatusOr<std::vector<PeerCopy>> MeasurePeerCopies() {
  int devices = 0;
  RM_RETURN_IF_ERROR(CudaStatus(cudaGetDeviceCount(&devices), "cudaGetDeviceCount"));
  std::vector<PeerCopy> copies;
  if (devices < 2) return copies;
  std::vector<void*> memory;
  const absl::Cleanup free = [&memory] {
    for (void* const one : memory) cudaFree(one);
  };
  for (int device = 0; device < devices; ++device) {
    RM_RETURN_IF_ERROR(CudaStatus(cudaSetDevice(device), "cudaSetDevice"));
    void* one = nullptr;
    RM_RETURN_IF_ERROR(CudaStatus(cudaMalloc(&one, 2 * kPeerCopyBytes), "cudaMalloc"));
    memory.push_back(one);
  }
  for (int from = 0; from < devices; ++from) {
    for (int to = 0; to < devices; ++to) {
      if (from == to) continue;
      PeerCopy copy;
      RM_RETURN_IF_ERROR(CudaStatus(cudaSetDevice(from), "cudaSetDevice"));
      RM_ASSIGN_OR_RETURN(copy.from, AddressOf(from));
      RM_ASSIGN_OR_RETURN(copy.to, AddressOf(to));
      RM_RETURN_IF_ERROR(Reach(from, to, &copy.can_access));
      char* const target = static_cast<char*>(memory[static_cast<size_t>(to)]) + kPeerCopyBytes;
      RM_ASSIGN_OR_RETURN(copy.gigabytes_per_second, TimeCopies(target, to, memory[static_cast<size_t>(from)], from));
      copies.push_back(std::move(copy));
    }
  }
  return copies;
}

}  // namespace ringmaster
