// Package natsd runs a nats-server with JetStream inside the process, for the
// standalone service: a laptop, a demo, one machine.
//
// Durability: JetStream acknowledges a write when the operating system has it
// and syncs files on its default interval (2 minutes). A crash of the process
// loses nothing; a power cut may lose the last interval. Who cannot accept
// that runs nats-server on its own, with sync_interval always or replicas.
package natsd
