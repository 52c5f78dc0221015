// node client.mjs ENDPOINT STREAMS PATH: uploads a file, or a folder's files, STREAMS of them at once.
import fs from 'node:fs'
import path from 'node:path'
import * as tus from 'tus-js-client'

const [endpoint, streams, given] = process.argv.slice(2)
const paths = fs.statSync(given).isFile()
  ? [given]
  : fs.readdirSync(given).sort().map((name) => path.join(given, name))

function upload(file) {
  return new Promise((resolve, reject) => {
    new tus.Upload(fs.createReadStream(file), {
      endpoint,
      metadata: { filename: path.basename(file) },
      onError: reject,
      onSuccess: resolve,
    }).start()
  })
}

async function one() {
  for (let file = paths.pop(); file !== undefined; file = paths.pop()) await upload(file)
}

await Promise.all(Array.from({ length: Number(streams) }, one))
