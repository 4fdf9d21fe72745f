package app

import "runtime/debug"

// Version is the release, stamped by the build (-ldflags -X); "dev" elsewhere.
var Version = "dev"

// VersionText is the release with the commit that the toolchain stamped, if it did.
func VersionText() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return Version
	}
	text := Version
	if text == "dev" && info.Main.Version != "" && info.Main.Version != "(devel)" {
		text = info.Main.Version
	}
	return text + " (" + info.GoVersion + ")"
}
