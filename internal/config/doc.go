// Package config reads understudy.yaml, the environment and the command line's
// overrides into one Config, and says of each key where its value came from.
// Errors carry file, line, column and a remedy; as many as can be found are
// reported at once.
//
// It opens nothing but the configuration file, listens nowhere and decides
// nothing about a run: sections that belong to other packages (rules, link) are
// handed on as they stand.
package config
