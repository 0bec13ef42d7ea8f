/** Saves a file from memory. */
export function saveFile(content: Blob, name: string): void {
  const link = document.createElement('a');
  link.href = URL.createObjectURL(content);
  link.download = name;
  link.click();
  // The browser begins to read it after this task.
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}
