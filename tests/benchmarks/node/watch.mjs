// node watch.mjs ENDPOINT FOLDER: uploads each new file, four at a time; says "ready" once it watches.
import fs from 'node:fs'
import path from 'node:path'
import * as chokidar from 'chokidar'
import * as tus from 'tus-js-client'

const [endpoint, folder] = process.argv.slice(2)
const waiting = []
let free = 4

function next() {
  while (free > 0 && waiting.length > 0) {
    free -= 1
    const file = waiting.shift()
    const done = () => { free += 1; next() }
    new tus.Upload(fs.createReadStream(file), {
      endpoint,
      metadata: { filename: path.basename(file) },
      onError: (error) => { console.error(String(error)); done() },
      onSuccess: done,
    }).start()
  }
}

chokidar.watch(folder, { ignoreInitial: true })
  .on('add', (file) => { waiting.push(file); next() })
  .on('ready', () => console.log('ready'))
