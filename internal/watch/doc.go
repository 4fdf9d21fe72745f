// Package watch reads files and folders again when they have changed and are whole. What
// they hold it does not know: who asked for them takes each reading over, or refuses it.
package watch
