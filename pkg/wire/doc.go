// Package wire is the contract of Sluice in Go: subjects, headers, JSON types
// and error codes, as users and the services see them.
//
// It depends on the standard library only, so that a client can import it
// without the rest. Types here carry data; validation and defaults live in
// package subscription.
package wire
