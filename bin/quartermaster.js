#!/usr/bin/env -S node --max-semi-space-size=32 --no-allocation-site-pretenuring
// The command `quartermaster`. In a clone of the repository it first builds what is stale. It then runs in this one
// process, so that signals reach it. Uses no syntax newer than `import()`: an old Node must get as far as the message.
var parts = process.versions.node.split('.');
var major = Number(parts[0]);
var minor = Number(parts[1]);
var isSupported = (major === 20 && minor >= 19) || (major === 22 && minor >= 12) || major > 22;

/** Builds, unless this is the packed package, which has neither the builder nor the sources. */
function build() {
  return import('../scripts/build.js').then(
    function (builder) {
      var code = builder.build(true);
      if (code !== 0) process.exit(code);
    },
    function (error) {
      if (error.code !== 'ERR_MODULE_NOT_FOUND') throw error;
    },
  );
}

if (isSupported) {
  build().then(function () {
    return import('../dist/src/cli/main.js');
  });
} else {
  console.error('Quartermaster needs Node 20.19, or 22.12 or newer; this is Node ' + process.versions.node + '.');
  process.exit(1);
}
