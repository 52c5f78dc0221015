// The reference server of tus for Node.js, on loopback:
//   node server.mjs --folder DIR --port N [--max-size BYTES] [--expire-seconds N]
// Prints one line when it listens. With --until-stdin-closes it ends when its stdin does.
import { parseArgs } from 'node:util'
import { FileStore } from '@tus/file-store'
import { Server } from '@tus/server'

const { values } = parseArgs({
  options: {
    folder: { type: 'string' },
    port: { type: 'string', default: '0' },
    'max-size': { type: 'string', default: '0' },
    'expire-seconds': { type: 'string', default: '0' },
    'until-stdin-closes': { type: 'boolean', default: false },
  },
})

const server = new Server({
  path: '/files',
  maxSize: Number(values['max-size']),
  datastore: new FileStore({
    directory: values.folder,
    expirationPeriodInMilliseconds: 1000 * Number(values['expire-seconds']),
  }),
})

const listening = server.listen({ host: '127.0.0.1', port: Number(values.port) }, () => {
  console.log(`listening on http://127.0.0.1:${listening.address().port}/files/`)
})

function stop() {
  // An open upload would keep the server up for as long as its client likes.
  listening.close(() => process.exit(0))
  listening.closeAllConnections()
}
process.on('SIGTERM', stop)
if (values['until-stdin-closes']) {
  process.stdin.on('end', stop).resume()
}
