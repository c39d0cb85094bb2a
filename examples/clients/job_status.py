#!/usr/bin/python3
"""Asks a coordinator for the state of all jobs, or of one, over gRPC.

    python3 job_status.py HOST:PORT [JOB]

Needs Debian's python3-grpcio, protobuf-compiler and protobuf-compiler-grpc: the stubs are made from proto/ into a temporary folder.
"""
import pathlib
import subprocess
import sys
import tempfile

import grpc

ROOT = pathlib.Path(__file__).resolve().parents[2]


def load_stubs(folder):
    plugin = subprocess.run(["sh", "-c", "command -v grpc_python_plugin"], capture_output=True, text=True, check=True).stdout.strip()
    protos = [f"proto/{name}.proto" for name in ("job", "job_service")]
    subprocess.run(["protoc", f"-I{ROOT}", f"--python_out={folder}", f"--grpc_out={folder}", f"--plugin=protoc-gen-grpc={plugin}", *protos],
                   check=True, cwd=ROOT)
    sys.path.insert(0, folder)
    from proto import job_pb2, job_service_pb2, job_service_pb2_grpc
    return job_pb2, job_service_pb2, job_service_pb2_grpc


def main():
    if len(sys.argv) not in (2, 3):
        print(__doc__, file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory() as folder:
        job_pb2, job_service_pb2, job_service_pb2_grpc = load_stubs(folder)
        with grpc.insecure_channel(sys.argv[1]) as channel:
            service = job_service_pb2_grpc.JobServiceStub(channel)
            try:
                if len(sys.argv) == 3:
                    jobs = [service.GetJob(job_service_pb2.GetJobRequest(job=sys.argv[2]), timeout=10).status]
                else:
                    jobs = service.ListJobs(job_service_pb2.ListJobsRequest(), timeout=10).jobs
            except grpc.RpcError as error:
                print(f"{error.code().name}: {error.details()}", file=sys.stderr)
                return 1
            for job in jobs:
                state = job_pb2.JobState.Name(job.state).removeprefix("JOB_STATE_").title()
                print(f"{job.job_id} {state} epoch={job.epoch} step={job.progress.step}/{job.progress.total_steps} ranks={len(job.ranks)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
