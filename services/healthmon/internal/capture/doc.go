// Package capture tells which streams store what is published on a subject, and
// from which streams the events of a store come.
package capture
