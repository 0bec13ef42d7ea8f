import { Injectable } from '@nestjs/common';

/** Tells whether the process is shutting down. It still serves, but load balancers must send requests elsewhere. */
@Injectable()
export class Shutdown {
  private begun = false;

  get hasBegun(): boolean {
    return this.begun;
  }

  begin(): void {
    this.begun = true;
  }
}
