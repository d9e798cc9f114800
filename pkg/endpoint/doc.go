// Package endpoint serves requests over NATS, as ADR-32 of NATS describes it:
// so `nats service ls|info|stats|ping` shows every service of Sluice.
//
// It does what the micro package of nats.go does, with two differences. That
// package answers wherever an asker wants, which would lend the rights of the
// service to everybody; here an answer goes to an inbox or nowhere, and a
// request that wants it elsewhere is not carried out. And that package counts
// the call of a handler; here a request counts once it is answered, with the
// time and the error of the whole work.
package endpoint
