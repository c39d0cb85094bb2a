// Asks a coordinator for its health and, by server reflection, for the services it offers.
//
//   npm install @grpc/grpc-js @grpc/proto-loader
//   node health.js HOST:PORT
'use strict';

const path = require('path');
const grpc = require('@grpc/grpc-js');
const protoLoader = require('@grpc/proto-loader');

const load = (file) => grpc.loadPackageDefinition(
  protoLoader.loadSync(path.join(__dirname, file), { keepCase: true, enums: String, oneofs: true }));
const deadline = () => ({ deadline: new Date(Date.now() + 10000) });

function checkHealth(address) {
  const { Health } = load('health.proto').grpc.health.v1;
  return new Promise((resolve, reject) => {
    new Health(address, grpc.credentials.createInsecure())
      .Check({ service: '' }, deadline(), (error, answer) => (error ? reject(error) : resolve(answer.status)));
  });
}

function listServices(address) {
  const { ServerReflection } = load('reflection.proto').grpc.reflection.v1alpha;
  return new Promise((resolve, reject) => {
    const stream = new ServerReflection(address, grpc.credentials.createInsecure()).ServerReflectionInfo(deadline());
    stream.on('error', reject);
    stream.on('data', (answer) => {
      resolve(answer.list_services_response.service.map((service) => service.name));
      stream.end();
    });
    stream.write({ list_services: '' });
  });
}

async function main() {
  const address = process.argv[2];
  if (!address) {
    console.error('usage: node health.js HOST:PORT');
    process.exit(2);
  }
  console.log(`health: ${await checkHealth(address)}`);
  for (const service of await listServices(address)) console.log(`service: ${service}`);
}

main().catch((error) => {
  console.error(`${process.argv[2]}: ${error.message}`);
  process.exit(1);
});
