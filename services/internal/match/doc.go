// Package match finds, among many subscriptions of a store, those that an event
// goes to, without asking each.
package match
