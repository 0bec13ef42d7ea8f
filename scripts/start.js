// `npm start`, and with a name the other programs (`npm run admin`): builds what is stale and becomes the program, in this
// one process, so that signals reach it. Runs as a module or a script and uses no syntax newer than `import()`: an old Node
// must get as far as the message.
var parts = process.versions.node.split('.');
var major = Number(parts[0]);
var minor = Number(parts[1]);
var isSupported = (major === 20 && minor >= 19) || (major === 22 && minor >= 12) || major > 22;

/** @param {string} name */
function run(name) {
  return import('./build.js').then(function (builder) {
    var code = builder.build(true);
    if (code !== 0) process.exit(code);
    return import('../dist/src/' + name + '.js');
  });
}

if (!isSupported) {
  console.error('Quartermaster needs Node 20.19, or 22.12 or newer; this is Node ' + process.versions.node + '.');
  process.exit(1);
} else if (process.argv[2] === 'admin') {
  process.argv.splice(2, 1);
  run('cli/admin');
} else {
  run('main');
}
