// Package strictjson reads JSON that others wrote, and finds all that is wrong with
// it at once, each fault with the path of its field.
//
// It reads into Go values by the names in their json tags, as encoding/json does, and
// knows the forms of package wire's lists and durations. Unlike there, a name that is
// unknown or is given twice is a fault, and so is null. A field that is not given
// keeps the value that it has, its default.
package strictjson
