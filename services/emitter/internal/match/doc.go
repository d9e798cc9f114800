// Package match decides which subscriptions of a store an event goes to.
//
// A Matcher is one subscription's selector, ready to be asked. An Index holds
// many and finds those that match without asking each.
package match
