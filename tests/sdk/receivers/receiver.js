import { createServer } from "node:http"
import { Webhook, WebhookVerificationError } from "standardwebhooks"

const webhook = new Webhook(process.env.WEBHOOK_SECRET)
const had = new Set() // Of a real one: a table with a unique key.

const server = createServer(async (request, response) => {
  const chunks = []
  for await (const chunk of request) chunks.push(chunk)
  const body = Buffer.concat(chunks).toString() // As it came: it is what was signed.
  try {
    const told = webhook.verify(body, request.headers)
    if (!had.has(request.headers["webhook-id"])) {
      had.add(request.headers["webhook-id"])
      console.log(told.type, JSON.stringify(told.data)) // Put it aside, and work on it later.
    }
    response.writeHead(204).end() // Soon: within 10 seconds.
  } catch (error) {
    response.writeHead(error instanceof WebhookVerificationError ? 401 : 500).end()
  }
})

server.listen(Number(process.env.PORT ?? 0), "127.0.0.1", () => {
  console.log("listening on", server.address().port)
})
