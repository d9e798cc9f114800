// Package evaluator works out what a subscription must get, straight from the
// contract and in the plainest way: every event against every condition, with
// nothing shared with the services that it judges but the types of package
// wire.
package evaluator
