// Package preview counts what a replay would deliver, in bounded time.
//
// It reads the range from its beginning for as long as that may take. If that is
// not all of it, the rest is divided into equal parts, and one sequence drawn by
// lot from each of as many of them as there is time for. What is counted is then
// an estimate. Its interval is Wilson's for a share, with a probability of 95 %.
// It is a safe one: parts of equal size make the estimate better than Wilson
// takes it for, and it says something even where nothing was found.
//
// Where a selector asks for subjects alone, the server counts the events. Bytes,
// types and keys are estimates then too.
package preview
