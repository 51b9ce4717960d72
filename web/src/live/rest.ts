// A wait that can be cut short.

export class Rest {
  private wake: () => void = () => {};

  /** Waits so long, or until it is ended. */
  async for(ms: number): Promise<void> {
    await new Promise<void>((awake) => {
      const timer = setTimeout(awake, ms);
      this.wake = () => {
        clearTimeout(timer);
        awake();
      };
    });
  }

  end(): void {
    this.wake();
  }
}
